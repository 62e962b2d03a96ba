"""A little of Slicer's desktop: PySide6 with PythonQt's manners around the real MRML of
slicer-core.

Just enough for the panel's own code to run over the real .ui file: a Qt property is an attribute,
signals are connected by their C++ signature, an unknown name is an error. What the desktop really
does is tested inside Slicer by MedLLMSegTest.
"""

import sys
import types
import unittest
from pathlib import Path

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from Testing.panel.node_selector import qMRMLNodeComboBox
from Testing.panel.parameter_node import parameterNodeWrapper
from Testing.panel.pythonic import Pythonic, word_wrapped

MODULE = Path(__file__).resolve().parents[2] / "MedLLMSeg" / "MedLLMSeg.py"


def pythonic(kind):
    return type(kind.__name__, (Pythonic, kind), {})


CLASSES = {
    "Q" + name: pythonic(getattr(QtWidgets, "Q" + name))
    for name in (
        "Label",
        "PushButton",
        "LineEdit",
        "ListWidget",
        "ComboBox",
        "CheckBox",
        "SpinBox",
        "Slider",
        "ProgressBar",
        "PlainTextEdit",
        "TreeWidget",
        "Widget",
    )
}


class Table(pythonic(QtWidgets.QTableWidget)):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.setHorizontalHeader(pythonic(QtWidgets.QHeaderView)(QtCore.Qt.Horizontal, self))
        self.setVerticalHeader(pythonic(QtWidgets.QHeaderView)(QtCore.Qt.Vertical, self))


class Tree(CLASSES["QTreeWidget"]):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.setHeader(pythonic(QtWidgets.QHeaderView)(QtCore.Qt.Horizontal, self))


class qMRMLWidget(QtWidgets.QWidget):
    def setMRMLScene(self, scene):
        for box in self.findChildren(qMRMLNodeComboBox):  # as the connections in the .ui do
            box.setMRMLScene(scene)


class ctkCollapsibleButton(Pythonic, QtWidgets.QWidget):
    HEADER = 26

    def __init__(self, parent=None):
        super().__init__(parent)
        self._text, self._closed = "", False

    def childEvent(self, event):
        QtCore.QTimer.singleShot(0, self._arrange)

    def _arrange(self):
        if self.layout() is None:
            return
        for child in self.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
            child.setVisible(not self._closed)
        self.layout().setContentsMargins(
            6, self.HEADER + (0 if self._closed else 6), 6, 0 if self._closed else 6
        )

    def _collapse(self, value):
        self._closed = value
        self._arrange()

    collapsed = QtCore.Property(bool, lambda self: self._closed, _collapse)
    text = QtCore.Property(
        str, lambda self: self._text, lambda self, value: setattr(self, "_text", value)
    )

    def paintEvent(self, event):
        painter, head = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        head.initFrom(self)
        head.rect = QtCore.QRect(0, 0, self.width, self.HEADER - 2)
        painter.drawPrimitive(QtWidgets.QStyle.PE_PanelButtonCommand, head)
        painter.drawText(
            head.rect.adjusted(8, 0, 0, 0),
            QtCore.Qt.AlignVCenter,
            f"{'▸' if self._closed else '▾'}  {self._text}",
        )


class qMRMLSegmentationShow3DButton(CLASSES["QPushButton"]):
    """A button with a menu: a click opens it and waits for the user; what is toggled is the 3D
    display.
    """

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._show)

    def click(self):
        raise AssertionError("the button opens its menu, and waits for the user")

    def setSegmentationNode(self, node):
        self._node = node
        self.setEnabled(node is not None)

    def _show(self, shown):
        if self._node is not None and shown:
            self._node.CreateClosedSurfaceRepresentation()
        elif self._node is not None:
            self._node.RemoveClosedSurfaceRepresentation()


def release(window):
    """What a test does with a window in the end."""
    for selector in window.findChildren(qMRMLNodeComboBox):
        selector.release()
    window.deleteLater()


OURS = (qMRMLWidget, ctkCollapsibleButton, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton)
CLASSES |= {"QTableWidget": Table, "QTreeWidget": Tree, **{kind.__name__: kind for kind in OURS}}


class QUiLoader(QtUiTools.QUiLoader):
    def createWidget(self, kind, parent=None, name=""):
        widget = CLASSES[kind](parent)
        QtCore.QObject.setObjectName(widget, name)
        return widget

    def load(self, file, parent=None):
        window = super().load(file, parent)
        for widget in window.findChildren(QtWidgets.QWidget):
            text = QtCore.QObject.property(widget, "toolTip")
            QtCore.QObject.setProperty(widget, "toolTip", word_wrapped(text))
        return window


class Base:
    """ScriptedLoadableModule, -Widget and -Logic."""

    def __init__(self, parent=None):
        super().__init__()
        shown, self.reloaded = isinstance(self, slicer.util.VTKObservationMixin), False
        self.parent = QtWidgets.QWidget() if shown and parent is None else parent
        self.layout = (
            (self.parent.layout() or QtWidgets.QVBoxLayout(self.parent)) if shown else None
        )
        if shown and parent is None:
            self.setup()

    def setup(self):
        pass

    def resourcePath(self, name):
        return str(MODULE.parent / "Resources" / name)

    def getParameterNode(self):
        """The scene's only node of the module, as Slicer makes it."""
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag("MedLLMSeg")
        return slicer.mrmlScene.GetSingletonNode(
            "MedLLMSeg", node.GetClassName()
        ) or slicer.mrmlScene.AddNode(node)

    def onReload(self):
        self.reloaded = True


@staticmethod
def _single_shot(delay_ms, slot):
    """As PythonQt, which does not keep the object of a bound method alive."""
    assert not hasattr(slot, "__self__"), f"{slot} may be gone before its time comes"
    QtCore.QTimer.singleShot(delay_ms, slot)


def make_modules(said: dict) -> dict[str, types.ModuleType]:
    """What is put into `sys.modules`. said: gets what is opened, under "opened"; "path" is what
    file dialogs answer.
    """
    modules = {
        name: types.ModuleType(name)
        for name in (
            "qt",
            "ctk",
            "slicer.i18n",
            "slicer.ScriptedLoadableModule",
            "slicer.parameterNodeWrapper",
        )
    }
    timer = type("QTimer", (Pythonic, QtCore.QTimer), {"singleShot": _single_shot})
    desktop = types.SimpleNamespace(
        openUrl=lambda url: said.setdefault("opened", []).append(url.toLocalFile())
    )
    dialog = types.SimpleNamespace(
        getExistingDirectory=lambda *_: said["path"], getOpenFileName=lambda *_: said["path"]
    )
    vars(modules["qt"]).update(
        Qt=QtCore.Qt,
        QTimer=timer,
        QFile=QtCore.QFile,
        QUrl=QtCore.QUrl,
        QUiLoader=QUiLoader,
        QDesktopServices=desktop,
        QFileDialog=dialog,
        QTableWidgetItem=QtWidgets.QTableWidgetItem,
        QTreeWidgetItem=QtWidgets.QTreeWidgetItem,
        QBrush=QtGui.QBrush,
        QColor=QtGui.QColor,
        QFontMetrics=QtGui.QFontMetrics,
        QIcon=QtGui.QIcon,
        QPainter=QtGui.QPainter,
        QPixmap=QtGui.QPixmap,
        QHeaderView=QtWidgets.QHeaderView,
    )
    modules["slicer.i18n"].tr, modules["slicer.i18n"].translate = (
        (lambda text: text),
        (lambda context, text: text),
    )
    bases = modules["slicer.ScriptedLoadableModule"]
    bases.ScriptedLoadableModule = bases.ScriptedLoadableModuleWidget = (
        bases.ScriptedLoadableModuleLogic
    ) = Base
    bases.ScriptedLoadableModuleTest = unittest.TestCase
    modules["slicer.parameterNodeWrapper"].parameterNodeWrapper = parameterNodeWrapper
    modules["slicer.parameterNodeWrapper"].WithinRange = lambda low, high: (low, high)
    assert not set(modules) & set(sys.modules) - {"qt", "ctk"}, "this is Slicer itself"
    return modules

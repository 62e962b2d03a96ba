"""A little of Slicer's desktop: PySide6 with PythonQt's manners around the real MRML of
slicer-core.

Just enough for the panel's own code to run over the real .ui file: a Qt property is an attribute,
signals are connected by their C++ signature, an unknown name is an error. What the desktop really
does is tested inside Slicer by MedLLMSegTest.
"""

import functools
import sys
import types
import unittest
from pathlib import Path

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from Testing.panel.parameter_node import parameterNodeWrapper

MODULE = Path(__file__).resolve().parents[2] / "MedLLMSeg" / "MedLLMSeg.py"


@functools.cache
def properties(kind) -> set[str]:
    return {
        kind.staticMetaObject.property(n).name()
        for n in range(kind.staticMetaObject.propertyCount())
    }


class Pythonic:  # mixed into a QObject
    def __getattribute__(self, name):
        if not name.startswith("_") and name in properties(type(self)):
            return QtCore.QObject.property(self, name)
        name = "_connect" if name == "connect" else name  # PySide's own goes before any other
        return super().__getattribute__(name)

    def __setattr__(self, name, value):
        if name in properties(type(self)):
            assert QtCore.QObject.setProperty(self, name, value), f"{name} takes no {value!r}"
        elif name.startswith("_"):
            super().__setattr__(name, value)
        else:
            raise AttributeError(f"{type(self).__name__} has no property {name}")

    name = property(lambda self: self.objectName)

    def _connect(self, signature, slot):
        meta = QtCore.QObject.metaObject(self)
        assert meta.indexOfSignal(signature) >= 0, (
            f"{type(self).__name__} has no signal {signature}"
        )
        count = getattr(
            slot, "__code__", getattr(getattr(slot, "__func__", None), "__code__", None)
        )
        wanted = count.co_argcount - hasattr(slot, "__self__") if count else 0
        name, kind = signature.rstrip(")").split("(")
        signal, kind = getattr(self, name), {"bool": bool, "int": int, "QString": str}.get(kind)
        (signal[kind] if kind else signal).connect(lambda *values: slot(*values[:wanted]))


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
    def __init__(self, parent=None):
        super().__init__(parent)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)

    def setSegmentationNode(self, node):
        self.setEnabled(node is not None)


class qMRMLNodeComboBox(Pythonic, QtWidgets.QComboBox):
    """Lists the scene's nodes of its types."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._nodes = []
        self.currentIndexChanged.connect(
            lambda index: self.currentNodeChanged.emit(self.currentNode())
        )

    def _connect(self, signature, slot):
        assert signature == "currentNodeChanged(vtkMRMLNode*)"
        self.currentNodeChanged.connect(slot)

    def setMRMLScene(self, scene):
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent):
            scene.AddObserver(event, lambda *_: self._refresh())
        self._refresh()

    def currentNode(self):
        return self._nodes[self.currentIndex] if 0 <= self.currentIndex < len(self._nodes) else None

    def setCurrentNode(self, node):
        self._refresh()
        self.setCurrentIndex(self._nodes.index(node) if node in self._nodes else -1)

    def _refresh(self):
        before, above = (
            self.currentNode(),
            max(0, self.currentIndex - 1),
        )  # where Slicer's goes when its node is removed
        none = self.property("noneDisplay") if self.property("noneEnabled") else None
        found = [
            n
            for kind in self.property("nodeTypes")
            for n in slicer.util.getNodesByClass(kind)
            if n.GetClassName() == kind and n.GetScene() is not None
        ]
        self.blockSignals(True)
        self.clear()
        self._nodes = ([None] if none else []) + found
        self.addItems(([none] if none else []) + [n.GetName() for n in found])
        self.setCurrentIndex(
            self._nodes.index(before) if before in self._nodes else min(above, len(self._nodes) - 1)
        )
        self.blockSignals(False)
        if self.currentNode() is not before:
            self.currentNodeChanged.emit(self.currentNode())


OURS = (qMRMLWidget, ctkCollapsibleButton, qMRMLNodeComboBox, qMRMLSegmentationShow3DButton)
CLASSES |= {"QTableWidget": Table, **{kind.__name__: kind for kind in OURS}}


class QUiLoader(QtUiTools.QUiLoader):
    def createWidget(self, kind, parent=None, name=""):
        widget = CLASSES[kind](parent)
        QtCore.QObject.setObjectName(widget, name)
        return widget


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
    timer = type("QTimer", (Pythonic, QtCore.QTimer), {})
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
        QColor=QtGui.QColor,
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

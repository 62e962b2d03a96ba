"""The stand-in for Slicer's qMRMLNodeComboBox: a combo box over a model of the scene's nodes.

Its rows come and go when Slicer's do: a row leaves as its node is *about to be* removed, and the
combo box moves on by itself and says so while the node is still in the scene.
"""

import ctypes

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from Testing.panel.pythonic import Pythonic

ID = QtCore.Qt.UserRole + 1  # of a row: its node's ID
LATE, EARLY = -10.0, 10.0  # the priorities of qMRMLSceneModel


def _count(answer: bool) -> None:
    """Count a reference that PySide6's `emit` returns uncounted: Python 3.11 ends the process once
    none of True is left.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(answer))


class qMRMLNodeComboBox(Pythonic, QtWidgets.QComboBox):
    """Lists the scene's nodes of its types."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._tags = None, []
        self._model = QtGui.QStandardItemModel(self)
        self._model.appendRow(QtGui.QStandardItem("Scene"))
        self._proxy = QtCore.QSortFilterProxyModel(self)  # as Slicer's, for the node types
        self._proxy.setSourceModel(self._model)
        self.setModel(self._proxy)
        self.setRootModelIndex(self._proxy.index(0, 0))
        self.currentTextChanged.connect(self._say)

    @property
    def _rows(self):
        """The item above all nodes; asked for anew, as the model owns it."""
        return self._model.item(0)

    def _connect(self, signature, slot):
        assert signature == "currentNodeChanged(vtkMRMLNode*)"
        self.currentNodeChanged.connect(slot)

    def setMRMLScene(self, scene):
        self._scene = scene
        for event, method, priority in (
            (scene.NodeAddedEvent, self._on_added, EARLY),
            (scene.NodeAboutToBeRemovedEvent, self._on_leaving, LATE),
            (scene.EndCloseEvent, self._on_reset, 0.0),
            (scene.EndImportEvent, self._on_reset, 0.0),
        ):
            self._tags.append(scene.AddObserver(event, method, priority))
        self._on_reset(scene, None)

    def release(self):
        """Hear nothing more of the scene, which outlives the window."""
        while self._tags:
            self._scene.RemoveObserver(self._tags.pop())

    def currentNode(self):
        return self._node(self.currentIndex)

    def setCurrentNode(self, node):
        name = node.GetID() if node is not None else None
        ids = [self.itemData(row, ID) for row in range(self.count)]
        none = 0 if self.property("noneEnabled") else -1
        self.setCurrentIndex(ids.index(name) if name in ids else none)

    def _node(self, row):
        # of the proxy, which loses a row before the model does
        name = self.itemData(row, ID) if row >= 0 else None
        return self._scene.GetNodeByID(name) if name else None

    def _say(self, text):
        """As `qMRMLNodeComboBox::emitCurrentNodeChanged`."""
        node, row = self.currentNode(), self.currentIndex
        if node is None and row != (0 if self.property("noneEnabled") else -1):
            last = self._node(self.count - 1)
            if last is not None:
                self.setCurrentNode(last)
        else:
            _count(self.currentNodeChanged.emit(node))

    def _on_reset(self, caller, event):
        before = self.currentNode()
        self.blockSignals(True)
        self._rows.removeRows(0, self._rows.rowCount())
        if self.property("noneEnabled"):
            self._rows.appendRow(QtGui.QStandardItem(self.property("noneDisplay")))
        self.setRootModelIndex(self._proxy.index(0, 0))
        self.blockSignals(False)
        for node in slicer.util.getNodesByClass("vtkMRMLNode"):
            self._add(node)
        self.setCurrentNode(before)
        self._say(self.currentText)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_added(self, scene, event, node):
        if not scene.IsImporting():
            self._add(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_leaving(self, scene, event, node):
        if scene.IsClosing():
            return
        for row in range(self._rows.rowCount()):
            if self._rows.child(row).data(ID) == node.GetID():
                self._rows.removeRow(row)  # and Qt makes another row the current one
                break
        if self.currentNode() is None:
            self.setCurrentNode(None)

    def _add(self, node):
        listed = node.GetClassName() in self.property("nodeTypes")
        if listed and not node.GetHideFromEditors():
            item = QtGui.QStandardItem(node.GetName())
            item.setData(node.GetID(), ID)
            self._rows.appendRow(item)

"""The stand-in for Slicer's parameterNodeWrapper: typed values over a node of the scene."""

import enum
import typing

import slicer
import slicer.util
import vtk


class ParameterNode:
    """What parameterNodeWrapper makes of a class: typed values over a node of the scene, bound to
    the panel.

    As in Slicer, values are read again when the node is modified; MRML says so only after it has
    said that a node was removed.
    """

    def __init__(self, node):
        self.parameterNode, self._bound, self._values = node, {}, {}
        self.AddObserver, self.RemoveObserver = node.AddObserver, node.RemoveObserver
        self._read()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._read())

    def _read(self):
        node = self.parameterNode
        for name, kind in self.kinds.items():
            if not node.HasParameter(name):
                self._save(name, getattr(type(self), "default_" + name))
            text = node.GetParameter(name)
            read = (
                kind
                if issubclass(kind, (int, str))
                else kind.__getitem__
                if issubclass(kind, enum.Enum)
                else None
            )
            self._values[name] = (
                text == "True"
                if kind is bool
                else read(text)
                if read
                else node.GetNodeReference(name)
            )
        self._write()

    def _save(self, name, value):
        kind = self.kinds[name]
        assert isinstance(value, kind) or (
            value is None and issubclass(kind, slicer.vtkMRMLNode)
        ), f"{name} takes no {value!r}"
        if issubclass(kind, slicer.vtkMRMLNode):
            self.parameterNode.SetNodeReferenceID(
                name, value.GetID() if value is not None else None
            )
        self.parameterNode.SetParameter(
            name, "" if issubclass(kind, slicer.vtkMRMLNode) else getattr(value, "name", str(value))
        )

    def __getattr__(self, name):
        if name.startswith("_") or name not in self._values:
            raise AttributeError(name)
        return self._values[name]

    def __setattr__(self, name, value):
        if name.startswith("_") or name in ("parameterNode", "AddObserver", "RemoveObserver"):
            super().__setattr__(name, value)
        else:
            assert name in self._values, f"there is no parameter {name}"
            with slicer.util.NodeModify(self.parameterNode):
                self._save(name, value)
                self._values[name] = value

    def connectParametersToGui(self, widgets):
        for name, widget in widgets.items():
            self._bind(name, widget)
        self._write()
        return 1

    def disconnectGui(self, tag):
        self._bound = {} if tag == 1 else self._bound

    def _bind(self, name, widget):
        kind = self.kinds[name]
        if issubclass(kind, enum.Enum):
            members = list(kind)
            widget.clear()
            widget.addItems([member.label() for member in members])
            how = (
                lambda value: widget.setCurrentIndex(members.index(value)),
                lambda: members[widget.currentIndex],
                widget.currentIndexChanged,
            )
        elif kind in (bool, int, str):
            prop, signal = {
                bool: ("checked", "toggled"),
                int: ("value", "valueChanged"),
                str: ("text", "textChanged"),
            }[kind]
            for range_ in (
                typing.get_type_hints(type(self), include_extras=True)[name].__metadata__
                if kind is int
                else ()
            ):
                widget.setRange(*range_)
            how = (
                lambda value: setattr(widget, prop, value),
                lambda: getattr(widget, prop),
                getattr(widget, signal),
            )
        else:
            how = (widget.setCurrentNode, widget.currentNode, widget.currentNodeChanged)
        self._bound[name] = how
        how[2].connect(
            lambda *_: name in self._bound and setattr(self, name, self._bound[name][1]())
        )

    def _write(self):
        bound = self._bound
        for name, (write, _read, _signal) in bound.items():
            self._bound = {}  # what is written here comes back as a signal
            write(getattr(self, name))  # all of them, as in Slicer
        self._bound = bound


def parameterNodeWrapper(kind):
    defaults = {"default_" + name: getattr(kind, name, None) for name in kind.__annotations__}
    known = {
        "__annotations__": kind.__annotations__,
        "__module__": kind.__module__,
        "kinds": typing.get_type_hints(kind),
    }
    return type(kind.__name__, (ParameterNode,), {**known, **defaults})

"""PythonQt's manners for PySide6's widgets, and Slicer's for their tool tips."""

import functools

from PySide6 import QtCore, QtGui


@functools.cache
def properties(kind) -> set[str]:
    return {
        kind.staticMetaObject.property(n).name()
        for n in range(kind.staticMetaObject.propertyCount())
    }


def word_wrapped(text: str) -> str:
    """A tool tip as Slicer's ctkToolTipTrapper makes it: rich text, which Qt breaks into lines."""
    if not text or QtGui.Qt.mightBeRichText(text):
        return text
    return QtGui.Qt.convertFromPlainText(text, QtGui.Qt.WhiteSpaceMode.WhiteSpaceNormal)


class Pythonic:  # mixed into a QObject
    def __getattribute__(self, name):
        if not name.startswith("_") and name in properties(type(self)):
            return QtCore.QObject.property(self, name)
        name = "_connect" if name == "connect" else name  # PySide's own goes before any other
        return super().__getattribute__(name)

    def __setattr__(self, name, value):
        value = word_wrapped(value) if name == "toolTip" else value
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

"""How a picture of the panel is taken: Slicer's colours, the height that it wants at 400 pixels,
and whether a text is cut off.
"""

from PySide6 import QtCore, QtGui, QtWidgets

from Testing.panel import desktop

WIDTH = 400  # pixels; as narrow as Slicer's panel gets


def palette(dark: bool):
    """Roughly those of Slicer's styles Light Slicer and Dark Slicer."""
    made, colour = QtGui.QPalette(), QtGui.QColor
    roles = (
        {
            "Window": "#323232",
            "WindowText": "#e6e6e6",
            "Base": "#262626",
            "AlternateBase": "#2e2e2e",
            "Text": "#e6e6e6",
            "Button": "#3c3c3c",
            "ButtonText": "#e6e6e6",
            "ToolTipBase": "#323232",
            "ToolTipText": "#e6e6e6",
            "Highlight": "#3d7ebd",
            "HighlightedText": "#ffffff",
            "PlaceholderText": "#8f8f8f",
            "Mid": "#555555",
            "Light": "#555555",
            "Dark": "#1c1c1c",
            "Link": "#6cb2ff",
        }
        if dark
        else {
            "Window": "#f0f0f0",
            "Base": "#ffffff",
            "Button": "#f0f0f0",
            "Highlight": "#308cc6",
            "Mid": "#b8b8b8",
        }
    )
    for role, value in roles.items():
        made.setColor(getattr(QtGui.QPalette, role), colour(value))
    if dark:
        for role in ("Text", "WindowText", "ButtonText"):
            made.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, role), colour("#7d7d7d"))
    return made


def settle(panel, application, width=WIDTH):
    """Lay the window out at a width in pixels, as high as what it shows."""
    window = panel.parent
    window.show()
    for _ in range(4):  # word-wrapped labels find their height in rounds
        application.processEvents()
        window.resize(
            width,
            max(window.layout().minimumSize().height(), window.layout().heightForWidth(width)),
        )


def cut_off(widget) -> str:
    """The text of a button, label or list that does not fit into its widget, else ""."""
    if not widget.isVisible() or isinstance(widget, desktop.qMRMLNodeComboBox):
        return ""  # Slicer's own selector shortens a node's name
    if isinstance(widget, QtWidgets.QLabel) and _property(widget, "wordWrap"):
        needed = QtWidgets.QLabel.heightForWidth(widget, _property(widget, "width"))
        return _property(widget, "text") if needed > _property(widget, "height") else ""
    if isinstance(widget, (QtWidgets.QPushButton, QtWidgets.QLabel, QtWidgets.QCheckBox)):
        needed = _property(widget, "sizeHint").width()
        return _property(widget, "text") if needed > _property(widget, "width") else ""
    return _cut_off_item(widget)


def _cut_off_item(widget) -> str:
    """The entries of a list that are too wide for it."""
    metrics = QtGui.QFontMetrics(_property(widget, "font"))
    texts, available = [], 0
    if isinstance(widget, QtWidgets.QComboBox):
        texts, available = [_property(widget, "currentText")], _property(widget, "width") - 28
    elif isinstance(widget, QtWidgets.QListWidget):
        texts = [widget.item(n).text() for n in range(_property(widget, "count"))]
        available = widget.viewport().width() - 4
    return " ".join(text for text in texts if metrics.horizontalAdvance(text) > available)


def _property(widget, name):
    """A Qt property, also of classes that have attributes in its place."""
    return QtCore.QObject.property(widget, name)

"""Exported models: folders of graphs that segment without torch."""

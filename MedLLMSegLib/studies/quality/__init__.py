"""How well a model knows its own quality: fitted, stored in its bundle, and measured on others."""

"""Which models exist: the catalogue, bundles and their configurations, licences and cards."""

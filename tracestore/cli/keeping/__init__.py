"""Commands that keep a store small, whole and safe."""

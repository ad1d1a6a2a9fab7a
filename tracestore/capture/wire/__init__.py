"""Provider traffic at the wire: transports for httpx, and what a call says about itself."""

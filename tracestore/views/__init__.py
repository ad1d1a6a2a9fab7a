"""Views: records in, text out; pure, and strangers to the store."""

from tracestore.views.easy import EventLike, render_easy_view

__all__ = ["EventLike", "render_easy_view"]

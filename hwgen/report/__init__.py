"""Where a run's time went: timelines, traces for Perfetto, and the report of a build as a page."""

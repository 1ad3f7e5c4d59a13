"""What a run says, as a page, Markdown, JUnit, CSV and ``pick.json``. ``docs/report.md`` explains each of them."""

"""Names that would do harm in a page that takes text for HTML."""

HOSTILE = '0000"><img src=x onerror=alert(1)>.png'
SCRIPT = "<script>alert(1)</script>"

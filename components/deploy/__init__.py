"""The step that releases a registered version and then makes it the champion."""

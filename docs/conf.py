"""Settings of Sphinx, for ``make docs``."""

from airflow_provider_prefect import __version__

project = "airflow-provider-prefect"
release = __version__
extensions = ["sphinx.ext.autodoc"]
highlight_language = "none"

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"

# Every cross reference has to lead somewhere, except for those to other projects, whose pages are not at hand.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(airflow|collections|datetime)\..*|datetime|timedelta|Airflow\w+")]

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

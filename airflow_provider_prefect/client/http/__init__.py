"""Send requests over HTTP: ``blocking`` with requests for workers, ``aio`` with aiohttp for the triggerer."""

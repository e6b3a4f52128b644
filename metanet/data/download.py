"""Downloads: over https alone, of limited size, in limited time, into memory."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request

LARGEST = 2**26  # bytes of a download, and of a file in one: many times what UCI publishes
SECONDS = 600  # for all of it
SILENCE = 30  # seconds without a byte


def download(url: str) -> bytes:
    """What is at `url`, also after redirections to other https addresses.

    Raises:
      OSError: it cannot be had, is larger than LARGEST bytes, takes longer than SECONDS, or an
        address is not https; the text says which.
    """
    try:
        with _opener().open(url, timeout=SILENCE) as response:
            return _content(response)
    except urllib.error.URLError as error:
        raise OSError(str(error.reason or error)) from error
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _content(response) -> bytes:
    """All bytes of a response, which is left as soon as they are too many or too late."""
    said, end = response.headers.get("Content-Length", ""), time.monotonic() + SECONDS
    whole = int(said) if said.isdecimal() else None
    if whole is not None and whole > LARGEST:
        raise OSError(f"found {whole} bytes, expected at most {LARGEST}")
    parts, size = [], 0
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise OSError(f"found more than {LARGEST} bytes, expected at most so many")
        if time.monotonic() > end:
            raise OSError(f"found {size} bytes in {SECONDS} s, expected all of them")
    if whole is not None and size < whole:
        raise OSError(f"found {size} bytes, expected {whole}")
    return b"".join(parts)


class _ToHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urllib.parse.urlsplit(newurl).scheme.lower() != "https":
            raise urllib.error.URLError(f"found a redirection to {newurl:.200}, expected https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Knows https and nothing else: not http, nor ftp, nor files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(),
        _ToHttps(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener

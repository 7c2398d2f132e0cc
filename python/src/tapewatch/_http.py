"""Requests to the HTTP API.

Invariant: each request has a connection of its own, so that threads do not meet; an answer that is no
success is raised with the server's code and words.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from ._address import Address
from ._errors import Error, Unavailable, of

#: Bytes of an answer that is read whole.
_ANSWER_BYTES_MAX = 64 << 20


class Answer:
    """A good answer, to be read once."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self.response = response

    def header(self, name: str) -> str:
        return self.response.getheader(name) or ""

    def close(self) -> None:
        """Lets go of it; what the server still does for it ends."""
        self._connection.close()
        self.response.close()


class Http:
    """Asks one server."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self._timeout = timeout
        self._context: ssl.SSLContext | None = address.context() if address.tls else None

    def send(self, method: str, path: str, body: object = None) -> Answer:
        """Asks, and returns the answer when its first bytes are there."""
        try:
            connection = self.address.http(self._context, self._timeout)
        except (OSError, http.client.HTTPException) as error:
            raise self._nobody(error) from error
        try:
            data = None if body is None else json.dumps(body).encode()
            headers = {} if data is None else {"content-type": "application/json"}
            try:
                connection.request(method, path, data, headers)
            except ConnectionError:
                # A server that refuses a long request says so, and does not read on.
                pass
            response = connection.getresponse()
            if response.status >= 300:
                raise _refused(response)
            return Answer(connection, response)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._nobody(error) from error
        except BaseException:
            # Ctrl-C too: the server ends a query whose asker has gone.
            connection.close()
            raise

    def json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Asks for a JSON object."""
        answer = self.send(method, path, body)
        try:
            value = json.loads(answer.response.read(_ANSWER_BYTES_MAX))
        except (OSError, http.client.HTTPException) as error:
            raise self._nobody(error) from error
        except ValueError as error:
            raise Error(f"{self.address}{path} answers with something else than JSON: is it a Tapewatch?") from error
        finally:
            answer.close()
        if not isinstance(value, dict):
            raise Error(f"{self.address}{path} answers with something else than an object: is it a Tapewatch?")
        return value

    def _nobody(self, error: Exception) -> Error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Error(
                f"{self.address}: {error.verify_message}; `ca` names the file of the authorities to trust", "forbidden"
            )
        if isinstance(error, ssl.SSLError):
            return Error(
                f"{self.address}: TLS failed: {error.reason or error}; is it https, and does the server take "
                "this client's certificate?",
                "forbidden",
            )
        if isinstance(error, ConnectionRefusedError):
            text = f"nothing answers at {self.address}: is `tapewatch up` running there?"
            return Unavailable(text, "unavailable")
        if isinstance(error, TimeoutError):
            return Unavailable(f"{self.address} did not answer in time", "unavailable")
        return Unavailable(f"{self.address}: {str(error) or type(error).__name__}", "unavailable")


def _refused(response: http.client.HTTPResponse) -> Error:
    text = response.read(1 << 20)
    try:
        error = json.loads(text)["error"]
        return of(str(error["message"]), str(error["code"]))
    except (ValueError, KeyError, TypeError):
        shown = text[:200].decode("utf-8", "replace").strip()
        return of(f"the server answers {response.status} {response.reason}: {shown}", f"http_{response.status}")

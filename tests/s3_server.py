"""An S3 server for the tests: moto, one request at a time, so that a conditional put is atomic.

Prints its port, then serves until it is ended. The bucket `history` is there.
"""

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
import threading


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


application = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, application, request_handler=Quiet)
threading.Thread(target=server.serve_forever).start()
url = f"http://127.0.0.1:{server.server_port}"
client = boto3.client(
    "s3",
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id="tester",
    aws_secret_access_key="tester",
)
client.create_bucket(Bucket="history")
print(server.server_port, flush=True)

# SPDX-License-Identifier: Apache-2.0
"""Stores to upload to: nginx with WebDAV, moto's S3, and a server that does wrong what it is told to do wrong."""

import contextlib
import hashlib
import http.server
import logging
import os
import queue
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

DEADLINE_S = 20

NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/body; proxy_temp_path {home}/t1; fastcgi_temp_path {home}/t2;
    uwsgi_temp_path {home}/t3; scgi_temp_path {home}/t4;
    client_max_body_size {limit};
    server {{
        listen 127.0.0.1:{port}{tls};
        location / {{
            root {home}/store;
            dav_methods {methods};
            create_full_put_path on;
            {more}
        }}
    }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port, process):
    deadline = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.01)
    return False


class Authority:
    """Of certificates, made for this run by openssl: `path`, for who is to trust it."""

    def __init__(self, where, name="authority"):
        self.where, self.path, self.key = where, where / f"{name}.pem", where / f"{name}.key"
        openssl("req", "-x509", *NEW_KEY, "-nodes", "-days", 2, "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.path)

    def certificate(self, name, of="IP:127.0.0.1"):
        """Paths of a certificate and its key."""
        paths = certificate, key, request, names = [self.where / f"{name}.{end}" for end in ("pem", "key", "csr", "names")]
        names.write_text(f"subjectAltName={of}\n")
        openssl("req", *NEW_KEY, "-nodes", "-subj", "/CN=of a test", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-days", 2, "-in", request, "-CA", self.path, "-CAkey", self.key, "-CAcreateserial", "-extfile", names,
                "-out", certificate)
        return paths[:2]


NEW_KEY = "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


class Nginx:
    """nginx with WebDAV in a directory of its own: `url`, and `root`, what it holds. `keys`: a certificate and its key, for https."""

    def __init__(self, limit="0", more="", methods="PUT DELETE MKCOL COPY MOVE", keys=None):
        self.home = Path(tempfile.mkdtemp(prefix="backstep-nginx-"))
        self.root = self.home / "store"
        self.root.mkdir()
        tls = f" ssl; ssl_certificate {keys[0]}; ssl_certificate_key {keys[1]}" if keys else ""
        for _ in range(5):  # somebody may take the port before nginx does
            port = free_port()
            (self.home / "nginx.conf").write_text(NGINX.format(home=self.home, port=port, tls=tls, methods=methods,
                                                                       limit=limit, more=more))
            self.process = subprocess.Popen(["/usr/sbin/nginx", "-e", f"{self.home}/error.log", "-c", f"{self.home}/nginx.conf"],
                                            stderr=subprocess.DEVNULL)
            self.url = f"http{'s' if keys else ''}://127.0.0.1:{port}"
            if answers(port, self.process):
                return
        raise RuntimeError((self.home / "error.log").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        shutil.rmtree(self.home)


class S3:
    """moto's server, with a bucket. Its keys are real ones, and where `signed` a request with a wrong signature is refused.

    moto computes other signatures than S3 does for names with more than letters, blanks and the like in them: Amazon's own client is
    refused there, too. Such names are for a server that does not look.
    """

    bucket = "shelf"

    def __init__(self, signed=True):
        self.signed = signed

    def __enter__(self):
        import boto3
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        os.environ.pop("AWS_SESSION_TOKEN", None)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.tell("reset-auth", b"inf")
        self.tell("reset")  # what moto keeps belongs to the process, not to the server
        some = dict(endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
        iam = boto3.client("iam", **some)
        iam.create_user(UserName="someone")
        allowed = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="someone", PolicyName="all", PolicyDocument=allowed)
        key = iam.create_access_key(UserName="someone")["AccessKey"]
        self.keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        self.client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key["AccessKeyId"],
                                   aws_secret_access_key=key["SecretAccessKey"])
        self.client.create_bucket(Bucket=self.bucket)
        if self.signed:
            self.tell("reset-auth", b"0")
        return self

    def tell(self, what, body=b""):
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", data=body, method="POST", headers={"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=DEADLINE_S).close()

    def __exit__(self, *_):
        self.tell("reset-auth", b"inf")
        self.server.stop()

    def put(self, key, body):
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def objects(self):
        """{key: SHA-256 of what it holds}"""
        found = {}
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for entry in page.get("Contents", []):
                digest = hashlib.sha256()
                for chunk in self.client.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].iter_chunks(1 << 20):
                    digest.update(chunk)
                found[entry["Key"]] = digest.hexdigest()
        return found

    def unfinished(self):
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])


class Broken(http.server.ThreadingHTTPServer):
    """A store in memory. `faults` says what happens to the requests of a method, in their order; then all is well.

    A fault is a status, or "hang", "close", "lie" (about the checksum), "rot" (it keeps something else), or a function that is called.
    With `behind`, a store's address, the others go there, untouched.
    """

    daemon_threads = True

    def __init__(self, behind=None):
        super().__init__(("127.0.0.1", 0), BrokenHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.behind = behind
        self.files = {}
        self.faults = {}
        self.seen = queue.Queue()
        self.released = threading.Event()
        self.bytes_received = 0
        self.lock = threading.Lock()

    def fail(self, method, *faults):
        self.faults[method] = list(faults)

    def next_fault(self, method):
        with self.lock:
            faults = self.faults.get(method, [])
            return faults.pop(0) if faults else None

    def handle_error(self, *_):
        pass  # clients that are killed close connections

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self.server_close()


class BrokenHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        left = int(self.headers.get("Content-Length") or 0)
        parts = []
        while left > 0:
            part = self.rfile.read(min(left, 1 << 16))
            if not part:
                raise ConnectionError
            left -= len(part)
            self.server.bytes_received += len(part)
            parts.append(part)
        return b"".join(parts)

    def handle_request(self):
        fault = self.server.next_fault(self.command)
        self.server.seen.put(self.command)
        if callable(fault):
            fault = fault()
        if fault == "close":  # in the middle of what it is sent
            self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.read_body()
        if fault == "part":  # of the body is kept, and then the connection breaks
            self.forward(body[:len(body) // 2], None, headers={"Content-Length": str(len(body) // 2)}, answers=False)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "hang":
            self.server.released.wait(DEADLINE_S)
            self.close_connection = True
        elif isinstance(fault, int):
            self.answer(fault)
        elif self.server.behind:
            self.forward(body, fault)
        else:
            self.serve(body, fault)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = do_MOVE = handle_request

    def serve(self, body, fault):
        files = self.server.files
        if self.command == "MOVE":
            return self.answer(501)
        if self.command == "PUT":
            if self.path in files and self.headers.get("If-None-Match") == "*":
                return self.answer(412)
            files[self.path] = b"rot" + body[3:] if fault == "rot" else body
            return self.answer(201)
        if self.path not in files:
            return self.answer(404)
        if self.command == "DELETE":
            del files[self.path]
            return self.answer(204)
        import base64
        digest = hashlib.sha256(b"another" if fault == "lie" else files[self.path]).digest()
        headers = [("ETag", f'"{hashlib.md5(files[self.path]).hexdigest()}"'), ("Content-Length", str(len(files[self.path])))]
        if fault == "lie":
            headers.append(("Repr-Digest", f"sha-256=:{base64.b64encode(digest).decode()}:"))
        return self.answer(200, files[self.path], headers)

    def forward(self, body, fault, headers=None, answers=True):
        import http.client
        connection = http.client.HTTPConnection(self.server.behind.removeprefix("http://"), timeout=DEADLINE_S)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**dict(self.headers.items()), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        headers = [(name, value) for name, value in answer.getheaders()
                   if name.lower() not in ("connection", "server", "date", "transfer-encoding")]
        if fault == "lie":
            headers = [(name, '"%s"' % ("0" * 32) if name.lower() == "etag" else value) for name, value in headers]
        if self.command != "HEAD":
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        connection.close()
        if answers:
            self.answer(answer.status, content, headers)

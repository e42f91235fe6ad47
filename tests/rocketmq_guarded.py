"""A RocketMQ that lets nobody in without a signature (ACL 2), and shows a certificate of a CA of its own."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rocketmq_server import RocketmqServer
from servers import find_binary


class GuardedRocketmq(RocketmqServer):
    ACCESS, SECRET = "operator", "a-long-secret"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def guarded_url(self, *, secret: str = "", ca: str = "") -> str:
        """With TLS and credentials, on every way there is."""
        account = f"{self.ACCESS}:{secret or self.SECRET}@"
        return (
            f"rocketmq://{account}{self.endpoints}?namesrv={self.namesrv}&tls=true"
            f"&ca={ca or self.ca}"
        )

    def settings(self) -> dict[str, str]:
        return {
            **super().settings(),
            **{name: str(x).replace("True", "true") for name, x in self._access().items()},
        }

    def proxy_settings(self) -> dict[str, object]:
        return {
            **super().proxy_settings(),
            **self._access(),
            # Asks the broker, which keeps the users.
            "authenticationMetadataProvider": "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider",
            "tlsTestModeEnable": False,
            "tlsKeyPath": f"{self.folder}/server.key",
            "tlsCertPath": f"{self.folder}/server.pem",
        }

    def _access(self) -> dict[str, object]:
        provider = "org.apache.rocketmq.auth.authentication.provider"
        return {
            "authenticationEnabled": True,
            "authenticationProvider": f"{provider}.DefaultAuthenticationProvider",
            "authenticationMetadataProvider": f"{provider}.LocalAuthenticationMetadataProvider",
            "initAuthenticationUser": json.dumps(
                {"username": self.ACCESS, "password": self.SECRET}
            ),
            "innerClientAuthenticationCredentials": json.dumps(
                {"accessKey": self.ACCESS, "secretKey": self.SECRET}
            ),
        }

    def command(self) -> Sequence[str]:
        *before, main, folder, namesrv = super().command()
        tls = (
            "-Dtls.test.mode.enable=false",
            f"-Dtls.server.keyPath={self.folder}/server.key",
            f"-Dtls.server.certPath={self.folder}/server.pem",
        )
        java = before.index(self._java)
        return [*before[: java + 1], *tls, *before[java + 1 :], main, folder, namesrv]

    def _write_config(self) -> None:
        super()._write_config()
        openssl = find_binary("openssl", install="apt-get install openssl")
        (self.folder / "san.cnf").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        for words in (
            ("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
             "-subj", "/CN=a CA of our own", "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign"),
            ("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=rocketmq"),
            ("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-out", "server.pem", "-days", "2", "-extfile", "san.cnf"),
        ):  # fmt: skip
            subprocess.run(
                [openssl, *words], cwd=self.folder, check=True, capture_output=True, timeout=30
            )

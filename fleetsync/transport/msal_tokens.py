"""The ways to sign in at Microsoft Entra ID, each as a source of tokens. Building one sends nothing."""

from pathlib import Path

from fleetsync.clock import Clock
from fleetsync.transport.device_code import DeviceCodeSignIn
from fleetsync.transport.entra import ClientCertificate, ConfidentialSignIn, Identity, ManagedIdentitySignIn
from fleetsync.transport.refresh import RefreshedTokens
from fleetsync.transport.secret import SecretText


def client_secret_tokens(identity: Identity, secret: SecretText, clock: Clock) -> RefreshedTokens:
    """Return tokens for an application that knows a secret. When that ends, Entra ID does not say."""
    return RefreshedTokens(ConfidentialSignIn(identity, secret.text), clock)


def client_certificate_tokens(identity: Identity, certificate: ClientCertificate, clock: Clock) -> RefreshedTokens:
    """Return tokens for an application that has a certificate."""
    return RefreshedTokens(
        ConfidentialSignIn(identity, certificate.credential, expires_at=certificate.expires_at), clock
    )


def workload_identity_tokens(identity: Identity, assertion: SecretText, clock: Clock) -> RefreshedTokens:
    """Return tokens for a workload whose platform keeps a signed assertion in a file, read at each sign-in."""
    credential = {"client_assertion": assertion.text}
    return RefreshedTokens(ConfidentialSignIn(identity, lambda: credential), clock)


def managed_identity_tokens(scope: str, clock: Clock, *, client_id: str | None = None) -> RefreshedTokens:
    """Return tokens for the machine that this runs on; `client_id` picks one of several identities."""
    return RefreshedTokens(ManagedIdentitySignIn(scope, client_id), clock)


def device_code_tokens(identity: Identity, cache_file: Path, clock: Clock, *, command: str) -> RefreshedTokens:
    """Return tokens for a person who signed in before (`sign_in_with_device_code`); `command` does it again."""
    return RefreshedTokens(DeviceCodeSignIn(identity=identity, cache_file=cache_file, command=command), clock)

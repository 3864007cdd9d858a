"""What Firestore's errors mean: to the caller of a store, and to a commit that has to go on somehow."""

from __future__ import annotations

from google.api_core import exceptions

from service_common.errors import ErrorKind, ServiceError, failed_precondition, invalid_field, unavailable

_CONFLICTS = (
    exceptions.Aborted,
    exceptions.AlreadyExists,
    exceptions.FailedPrecondition,
    exceptions.NotFound,
)
_REFUSALS = (
    exceptions.InvalidArgument,
    exceptions.OutOfRange,
    exceptions.Forbidden,
    exceptions.Unauthenticated,
    exceptions.ResourceExhausted,
    exceptions.MethodNotImplemented,
)

_NO_ACCESS = "refuses this service's account; grant it roles/datastore.user"
_REMEDIES: dict[type[exceptions.GoogleAPICallError], str] = {
    exceptions.NotFound: "does not exist; create it, or correct STORE_URL",
    exceptions.Forbidden: _NO_ACCESS,
    exceptions.Unauthenticated: _NO_ACCESS,
    exceptions.FailedPrecondition: "lacks an index or is in another mode; apply the release's Terraform",
}
"""What to do about errors that only people can do something about."""


def is_conflict(error: exceptions.GoogleAPICallError) -> bool:
    """Tell whether a commit was refused because a document is not as its preconditions say."""
    return isinstance(error, _CONFLICTS)


def is_ambiguous(error: exceptions.GoogleAPICallError) -> bool:
    """Tell whether a commit may have gone through in spite of the error."""
    return not isinstance(error, _CONFLICTS + _REFUSALS)


def as_service_error(error: exceptions.GoogleAPICallError, database: str) -> ServiceError:
    """Return the error as the port's callers know it; it names the database and what to do."""
    if isinstance(error, exceptions.ResourceExhausted | exceptions.Aborted):
        return unavailable("STORE_BUSY", f"{database} is contended, overloaded or at its quota")
    if isinstance(error, exceptions.OutOfRange | exceptions.InvalidArgument):
        return invalid_field("request", "is not what Firestore accepts, most likely it is too large")
    if isinstance(error, exceptions.DataLoss):
        return ServiceError(ErrorKind.DATA_LOSS, "STORE_DAMAGED", f"{database} reports lost data")
    for kind, remedy in _REMEDIES.items():
        if isinstance(error, kind):
            return failed_precondition("STORE_NOT_READY", f"{database} {remedy}")
    return unavailable("STORE_UNAVAILABLE", f"{database} cannot be reached")


def commit_unknown(database: str) -> ServiceError:
    """Make the error for a commit of which it cannot be told whether it went through."""
    return unavailable("COMMIT_UNKNOWN", f"{database} was lost during a commit: it may be stored or not")

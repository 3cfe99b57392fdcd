"""The error of factorisations and solvers."""


class LinAlgError(RuntimeError):
    """A matrix is singular, not positive definite, or an iteration did not converge."""


LinAlgError.__module__ = "taimatsu.linalg"

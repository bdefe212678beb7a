"""KFP glue of deploy."""

from typing import NamedTuple

from components.images import component


@component("deploy")
def deploy(model: str, version: str, environment: str, strategy: str) -> NamedTuple(  # type: ignore[valid-type]  # KFP's form
    "Outputs", [("url", str), ("curl", str)]
):
    """Bring a version to its endpoint, verify it there, and make it the champion.

    Args:
        model: Name of the model.
        version: Number of the registered version.
        environment: `laptop`, or an overlay of manifests/.
        strategy: How the cluster moves traffic; `default` takes the environment's.

    Returns:
        The endpoint and a command that asks it for a prediction.
    """
    from components.deploy.step import deploy as run

    release = run(model, version, environment, strategy)
    return release.url, release.curl

"""Where everything is: flags, then the environment, then the usual ports; every mistake is named."""

from pathlib import Path

import pytest
from factory_cli.endpoints import resolve
from factory_cli.failures import CommandError
from factory_cli.supervision.specs import model_spec, service_spec, uses_embedded_model


def test_the_usual_ports() -> None:
    """Without any word, services are on 50051 and up, metrics on 9101 and up, all ours to start."""
    found = resolve({})
    assert [each.port for each in found.services] == [50051, 50052, 50053, 50054]
    assert [each.metrics_port for each in found.services] == [9101, 9102, 9103, 9104]
    assert all(each.local for each in found.services)
    assert found.model_port == 8089


def test_a_base_port_moves_everything_apart() -> None:
    """One number moves nine ports, none of them twice."""
    found = resolve({}, base_port=7000)
    ports = [each.port for each in found.services] + [each.metrics_port for each in found.services]
    assert sorted([*ports, found.model_port]) == list(range(7000, 7009))


def test_a_named_address_is_not_ours_to_start() -> None:
    """The flag wins over the environment, and what is named is only called."""
    found = resolve({"FACTORY_CACHE": "a:1", "FACTORY_TRACKER": "b:2"}, targets={"cache": "c:3"})
    assert (found.of("cache").target, found.of("tracker").target) == ("c:3", "b:2")
    assert not found.of("cache").local
    assert found.of("processor").local


def test_every_wrong_value_is_named() -> None:
    """Bad ports and addresses are reported together."""
    environ = {"FACTORY_CACHE_PORT": "x", "FACTORY_TRACKER": "nowhere", "FACTORY_MODEL_PORT": "70000"}
    with pytest.raises(CommandError, match=r"(?s)FACTORY_CACHE_PORT.*FACTORY_TRACKER.*FACTORY_MODEL_PORT"):
        resolve(environ)


def test_a_service_gets_its_ports_its_store_and_the_rest_of_the_environment(tmp_path: Path) -> None:
    """Each local service has its own file, whatever sqlite file the environment names; other stores stay."""
    endpoints = resolve({})
    spec = service_spec(
        endpoints.of("cache"),
        endpoints,
        data_dir=tmp_path,
        environ={"PORT": "1", "CACHE_X": "y", "STORE_URL": "sqlite:///x"},
    )
    assert spec.environ["PORT"] == "50051"
    assert spec.environ["CACHE_X"] == "y"
    assert spec.environ["STORE_URL"] == f"sqlite:///{tmp_path}/cache.db"
    other = {"STORE_URL": "firestore://p/d"}
    kept = service_spec(endpoints.of("cache"), endpoints, data_dir=tmp_path, environ=other)
    assert kept.environ["STORE_URL"] == "firestore://p/d"


def test_the_processor_knows_its_neighbours_and_the_embedded_model(tmp_path: Path) -> None:
    """Without an endpoint of one's own, the processor is pointed at the embedded model's port."""
    endpoints = resolve({}, base_port=7000)
    environ = service_spec(endpoints.of("processor"), endpoints, data_dir=tmp_path, environ={}).environ
    assert environ["CACHE_TARGETS"] == "127.0.0.1:7000"
    assert environ["TRACKER_TARGETS"] == "127.0.0.1:7003"
    assert environ["PROCESSOR_MODEL_URL"] == "http://127.0.0.1:7008/v1"
    assert environ["PROCESSOR_MAX_CONCURRENCY"] == "8"
    assert environ["PROCESSOR_MAX_OUTPUT_TOKENS"] == "340"


@pytest.mark.parametrize("name", ["PROCESSOR_MAX_CONCURRENCY", "PROCESSOR_MAX_OUTPUT_TOKENS"])
def test_what_somebody_set_wins_over_the_embedded_models_limits(tmp_path: Path, name: str) -> None:
    """The limits are defaults; one that is set empty counts as not set."""
    endpoints = resolve({})

    def limit(environ: dict[str, str]) -> str:
        spec = service_spec(endpoints.of("processor"), endpoints, data_dir=tmp_path, environ=environ)
        return spec.environ[name]

    assert limit({name: "3"}) == "3"
    assert limit({name: ""}) == limit({})


def test_the_embedded_model_serves_only_a_processor_of_ours_without_an_endpoint() -> None:
    """Documents are cut to its measure exactly then."""
    own = {"PROCESSOR_MODEL_URL": "http://10.0.0.1/v1"}
    assert uses_embedded_model(resolve({}), {})
    assert not uses_embedded_model(resolve({}), own)
    assert not uses_embedded_model(resolve({}, targets={"processor": "a:1"}), {})


def test_an_endpoint_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    """With PROCESSOR_MODEL_URL set, nothing about the model is decided here."""
    endpoints = resolve({})
    own = {"PROCESSOR_MODEL_URL": "http://10.0.0.1/v1"}
    environ = service_spec(endpoints.of("processor"), endpoints, data_dir=tmp_path, environ=own).environ
    assert environ["PROCESSOR_MODEL_URL"] == "http://10.0.0.1/v1"
    assert "PROCESSOR_MODEL" not in environ
    assert "PROCESSOR_MAX_OUTPUT_TOKENS" not in environ


def test_the_processor_stops_first_and_the_model_last(tmp_path: Path) -> None:
    """Who calls others is drained before those it calls."""
    endpoints = resolve({})
    ranks = {
        each.spec.name: service_spec(each, endpoints, data_dir=tmp_path, environ={}).stop_rank
        for each in endpoints.services
    }
    model = model_spec(endpoints, data_dir=tmp_path, environ={}).stop_rank
    assert ranks["processor"] < min(ranks["cache"], ranks["optimizer"], ranks["tracker"])
    assert model > max(ranks.values())

# Thin: each target calls a tool or a script. `make run` and `make test` set up all that they need.
SHELL := /bin/bash
PYTHON := .venv/bin/python
# Some machines ask Python not to store bytecode. A process that imports torch would then compile for seconds each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run motorcycle reconstruct world test proofs test-node test-fast lint format bench generate images release cluster cluster-down soak setup setup-dev clean

run: setup  ## A photograph becomes a 3D scene: results/china/report.html
	.venv/bin/scenewright run examples/scenejob-vistadream.yaml --output results/china

motorcycle: setup  ## The second example: a stereo capture with its true disparity
	.venv/bin/scenewright run examples/scenejob-motorcycle.yaml --output results/motorcycle

reconstruct: setup  ## Aerial photographs with poses become a scene: results/brighton-beach/report.html
	.venv/bin/scenewright run examples/scenejob-reconstruct.yaml --output results/brighton-beach

world: setup  ## A 360-degree photograph becomes a room to walk in: results/hotel-room/report.html
	.venv/bin/scenewright run examples/scenejob-worldexplorer.yaml --output results/hotel-room

test: setup-dev lint  ## Everything that CI runs
	# Four processes on two cores, for the two with a cluster mostly wait. A file stays in one process and shares its fixtures.
	$(PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not serial and not gpu and not soak and not node and not proof"
	# Collecting all files takes half a minute.
	$(PYTHON) -m pytest -m "serial and not gpu and not soak and not node and not proof" \
		$$(grep -rl --include='test_*.py' 'mark\.serial' tests)

proofs: setup-dev  ## What must train for minutes to show that it learned
	$(PYTHON) -m pytest -s -m proof --timeout 3600 tests/stages tests/e2e/test_painted_chain.py

test-node: setup-dev  ## Images, chart and the example on a one-node cluster; needs root, 40 GB and 46 minutes, 30 when repeated
	CI=true $(PYTHON) -m pytest -m node tests/e2e

test-fast: setup-dev  ## The developer's loop: no processes, clusters or browsers
	$(PYTHON) -m pytest tests/unit tests/stages -n 2 --dist loadfile -m "not slow and not process and not serial and not gpu and not soak and not node and not proof"

lint: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy operator/scenewright stages/scenewright_stages lab/scenewright_lab tools/cluster
	.venv/bin/lint-imports
	.venv/bin/scenewright crds --check

format: setup-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

generate: setup  ## All generated files: CRDs, frozen defaults, tables in docs/, Grafana dashboards
	.venv/bin/scenewright crds
	$(PYTHON) tools/parameter_tables.py
	$(PYTHON) tools/backend_tables.py
	$(PYTHON) tools/dashboards.py

images:  ## Container images of the operator and the stages, with buildah or docker; needs nothing else
	images/build

release: setup  ## Images and chart into an OCI registry: make release REGISTRY=registry.lab/scenewright
	$(PYTHON) tools/release.py $(REGISTRY)

cluster: setup-dev  ## A one-node cluster with S3, Prometheus and the operator on this machine; needs root
	$(PYTHON) tools/cluster up

cluster-down:
	$(PYTHON) tools/cluster down

bench: setup-dev  ## Ratios against peers, measured in one run
	$(PYTHON) tests/bench/renderer.py
	$(PYTHON) tests/bench/inpainting.py

soak: setup-dev  ## The long runs: every fault with 100 objects or workers, 500 random histories, 20 kills of a job, of a world, of the toys and of a tuning, 300 objects within the limits, and 2,000 at once
	SCENEWRIGHT_FAULT_OBJECTS=100 $(PYTHON) -m pytest -s --timeout 7200 tests/cluster/test_faults_*.py tests/e2e/test_faults_of_workers.py
	SCENEWRIGHT_INJECTED_FAULTS=1000 $(PYTHON) -m pytest -s --timeout 7200 tests/unit/reconcile/test_thousand_faults.py
	SCENEWRIGHT_HISTORIES=500 $(PYTHON) -m pytest -s --timeout 7200 tests/unit/reconcile/test_decide_properties.py
	SCENEWRIGHT_HOSTILE=200 SCENEWRIGHT_HONEST=20 $(PYTHON) -m pytest -s --timeout 7200 -k hostile tests/cluster/test_first_day.py
	SCENEWRIGHT_OUTAGE_SECONDS=60 $(PYTHON) -m pytest -s -k away tests/processes/worker/test_in_a_pod.py
	SCENEWRIGHT_KILLS=20 $(PYTHON) -m pytest -s --timeout 7200 tests/e2e/test_same_bytes.py
	SCENEWRIGHT_TOY_KILLS=20 $(PYTHON) -m pytest -s tests/e2e/test_toy_pipelines.py
	$(PYTHON) -m pytest -s --timeout 7200 -m soak tests/cluster tests/e2e/test_reference_endurance.py tests/e2e/test_world_endurance.py tests/e2e/test_relight_s3.py tests/stages
	$(PYTHON) tests/bench/scale.py --objects 2000 --per-second 20 --pods 30 90 --patience 7200
	$(PYTHON) tests/bench/scale.py --objects 2000 --burst

setup:
	@tools/setup run

setup-dev:
	@tools/setup test

clean:
	rm -rf .venv results

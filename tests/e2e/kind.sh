#!/usr/bin/env bash
# A cluster on this machine with everything Headrace asks for:  tests/e2e/kind.sh up | load | down
# Needs docker, kind, kubectl, helm, about 6 CPUs and 14 GB of memory for `up`.
set -euo pipefail
cd "$(dirname "$0")/../.."

CLUSTER=${CLUSTER:-headrace}
NAMESPACE=kubeflow
PIPELINES=2.17.0
KSERVE=v0.21.0
GATEWAY_API=v1.5.1
ENVOY_GATEWAY=v1.8.1
CERT_MANAGER=v1.17.0
PROMETHEUS=93.1.1
METRICS_SERVER=v0.8.0

up() {
  kind get clusters | grep -qx "$CLUSTER" || kind create cluster --name "$CLUSTER" --wait 5m
  echo "== Gateway API and Envoy Gateway"
  kubectl apply --server-side -f "https://github.com/kubernetes-sigs/gateway-api/releases/download/$GATEWAY_API/standard-install.yaml"
  helm upgrade --install gateway oci://docker.io/envoyproxy/gateway-helm --version "$ENVOY_GATEWAY" \
    --namespace envoy-gateway-system --create-namespace --skip-crds --wait
  echo "== cert-manager, for KServe's webhooks"
  kubectl apply -f "https://github.com/cert-manager/cert-manager/releases/download/$CERT_MANAGER/cert-manager.yaml"
  kubectl --namespace cert-manager rollout status deployment/cert-manager-webhook --timeout=5m
  echo "== KServe $KSERVE, Standard mode"
  helm upgrade --install kserve-crd oci://ghcr.io/kserve/charts/kserve-crd --version "$KSERVE" \
    --namespace kserve --create-namespace --wait
  helm upgrade --install kserve oci://ghcr.io/kserve/charts/kserve-resources --version "$KSERVE" --namespace kserve --wait \
    --set kserve.controller.deploymentMode=Standard \
    --set kserve.controller.gateway.ingressGateway.enableGatewayApi=true \
    --set kserve.controller.gateway.ingressGateway.kserveGateway=kserve/kserve-ingress-gateway
  kubectl apply -f tests/e2e/gateway.yaml
  echo "== Prometheus, for canaries; it selects what carries the label release=prometheus"
  helm upgrade --install prometheus oci://ghcr.io/prometheus-community/charts/kube-prometheus-stack \
    --version "$PROMETHEUS" --namespace monitoring --create-namespace --wait --timeout 10m \
    --set grafana.enabled=false --set alertmanager.enabled=false --set nodeExporter.enabled=false \
    --set kubeStateMetrics.enabled=false
  echo "== metrics-server, for the autoscaler"
  kubectl apply -f "https://github.com/kubernetes-sigs/metrics-server/releases/download/$METRICS_SERVER/components.yaml"
  kubectl --namespace kube-system patch deployment metrics-server --type=json \
    --patch='[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]'
  echo "== Kubeflow Pipelines $PIPELINES"
  kubectl apply -k "github.com/kubeflow/pipelines/manifests/kustomize/cluster-scoped-resources?ref=$PIPELINES"
  kubectl wait --for condition=established --timeout=60s crd/workflows.argoproj.io
  kubectl apply -k "github.com/kubeflow/pipelines/manifests/kustomize/env/platform-agnostic?ref=$PIPELINES"
  kubectl --namespace "$NAMESPACE" rollout status deployment/ml-pipeline --timeout=15m
}

load() {
  python tests/tools/images.py build
  docker images --format '{{.Repository}}:{{.Tag}}' | grep '^headrace/' | xargs kind load docker-image --name "$CLUSTER"
}

down() {
  kind delete cluster --name "$CLUSTER"
}

case "${1:-}" in
  up | load | down) "$1" ;;
  *) sed -n '2,3p' "$0" && exit 2 ;;
esac

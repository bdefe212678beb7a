# Writes SeaweedFS' identities from the keys in the environment; without them it would serve everyone.
set -eu
: "${PIPELINES_KEY:?}" "${PIPELINES_SECRET:?}" "${SERVING_KEY:?}" "${SERVING_SECRET:?}" "${MODELS:?}"
umask 077
cat > /identities/s3.json <<END
{"identities": [
  {"name": "pipelines", "credentials": [{"accessKey": "$PIPELINES_KEY", "secretKey": "$PIPELINES_SECRET"}],
   "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
  {"name": "serving", "credentials": [{"accessKey": "$SERVING_KEY", "secretKey": "$SERVING_SECRET"}],
   "actions": ["Read:$MODELS", "List:$MODELS"]}
]}
END

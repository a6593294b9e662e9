# MinIO: the program `minio` of the machine if there is one, else built by Go, because nobody ships it any more.
# The pin is the last commit of its archived repository: the module proxy has no releases of its last year.
# shellcheck shell=bash disable=SC2034,SC2154 # `run` gives and reads variables

pin=v0.0.0-20260212201848-7aac2a2c5b7c

of_the_machine() { type -P minio; }

install() {
  if of_the_machine; then return; fi
  if ! type -P go; then
    echo 'neither minio nor go is on the PATH'
    return 1
  fi
  GOBIN=$home CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$pin"
}

program() { of_the_machine || echo "$home/minio"; }

version() {
  # Built by Go it does not know its version.
  "$(program)" --version | sed -n "1s/^minio version //; 1s/^DEVELOPMENT[^ ]*/$pin/; 1s/ (.*//p"
}

serve() {
  export MINIO_ROOT_USER=$access MINIO_ROOT_PASSWORD=$secret
  export MINIO_BROWSER=off MINIO_UPDATE=off
  exec "$(program)" server --quiet --address "127.0.0.1:$port" "$data/objects"
}

ready() { answers "http://127.0.0.1:$port/minio/health/live"; }

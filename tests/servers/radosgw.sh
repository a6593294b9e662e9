# Ceph's RADOS Gateway with the least of a cluster below it: one monitor, and one storage daemon that keeps
# objects in memory. Debian's packages are unpacked, not installed: nothing of them starts with the machine.
# The pin is Ceph's version; Debian's own number behind it may go up.
# shellcheck shell=bash disable=SC2034,SC2154 # `run` gives and reads variables

pin=16.2.15

install() {
  local packages
  if ! type -P apt-get; then
    echo 'it comes as packages of Debian, and there is no apt-get'
    return 1
  fi
  apt-cache show radosgw >/dev/null 2>&1 || apt-get -qq update
  # What apt would install: the packages and what they need that this machine lacks.
  packages=$(apt-get install --simulate --reinstall --no-install-recommends radosgw ceph-mon ceph-osd ceph-common |
    awk '$1 == "Inst" { print $2 }')
  mkdir "$home/packages"
  cd "$home/packages" || return
  # shellcheck disable=SC2086
  apt-get -qq download $packages
  for package in *.deb; do dpkg-deb --extract "$package" "$home"; done
  cd /
  rm -rf "$home/packages"
  [ "$(version)" = "$pin" ] || { echo "this Debian has $(version), not $pin"; return 1; }
}

paths() {
  local kind
  kind=$(uname -m)-linux-gnu
  libraries=$home/usr/lib/$kind
  export LD_LIBRARY_PATH=$libraries:$libraries/ceph:$home/lib/$kind
  export PATH=$home/usr/bin:$PATH CEPH_CONF=$data/ceph.conf
}

version() {
  data=$home paths
  radosgw --version | awk '{ print $3 }'
}

serve() {
  paths
  local id
  id=$(cat /proc/sys/kernel/random/uuid)
  mkdir mon osd run
  cat >ceph.conf <<END
[global]
fsid = $id
mon_host = [v2:127.0.0.1:$((port + 1))]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
ms_bind_port_min = $((port + 2))
ms_bind_port_max = $((port + 15))
# Inside the cluster nobody proves who he is; requests to the gateway are signed all the same.
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# One copy of everything, on one disk.
mon_allow_pool_size_one = true
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 8589934592
rgw_dynamic_resharding = false
rgw_enable_usage_log = false
# Everything in the data folder or in the unpacked packages.
mon_data = $data/mon
osd_data = $data/osd
run_dir = $data/run
admin_socket = $data/run/\$name.asok
log_file = $data/\$name.log
mon_cluster_log_file = $data/cluster.log
mon_cluster_log_to_stderr = false
log_to_stderr = false
err_to_stderr = true
plugin_dir = $libraries/ceph
osd_class_dir = $libraries/rados-classes
erasure_code_dir = $libraries/ceph/erasure-code
END
  monmaptool --create --fsid "$id" --addv a "[v2:127.0.0.1:$((port + 1))]" monmap
  ceph-mon --id a --mkfs --monmap monmap
  ceph-mon --id a --foreground &
  # Debian's Python, for which its modules are built, whatever else is on the PATH.
  PYTHONPATH=$home/usr/lib/python3/dist-packages \
    /usr/bin/python3 "$home/usr/bin/ceph" --connect-timeout 30 osd new "$id"
  ceph-osd --id 0 --mkfs --osd-uuid "$id"
  ceph-osd --id 0 --foreground &
  radosgw-admin user create --uid tests --display-name tests --access-key "$access" --secret-key "$secret" >/dev/null
  # The gateway insists on proof unless its own arguments say otherwise.
  exec radosgw --name client.admin --auth-client-required=none --ms-mon-client-mode=crc \
    --rgw-frontends "beast endpoint=127.0.0.1:$port" --foreground
}

ready() { answers "http://127.0.0.1:$port/"; }

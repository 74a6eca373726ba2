#!/bin/sh
# Makes an authority and a certificate for the server and each party, to try the configuration with. It needs openssl.
#
#   ./certs.sh [DIR [HOST]]    DIR: certs, HOST: localhost
set -eu
umask 077
dir=${1:-certs}
host=${2:-localhost}
mkdir -p "$dir"
cd "$dir"

[ -f ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
  -subj "/CN=Lethe trial authority" -keyout ca-key.pem -out ca.pem 2>/dev/null

# issue NAME SAN makes NAME.pem and NAME-key.pem.
issue() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1-key.pem" -out "$1.csr" 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 365 -extfile "$1.ext" -out "$1.pem" 2>/dev/null
  rm "$1.csr" "$1.ext"
  echo "$dir/$1.pem"
}

issue server "DNS:$host,IP:127.0.0.1"
for party in publisher kv-publisher worker subscriber admin; do
  issue "$party" "email:$party@lethe.example"
done

#!/bin/sh
# Makes a private CA and certificates for server.conf and cluster.conf, in ./certs beside this file. They are for
# trying it out and last 30 days; in production a CA of your own issues them.
#
#   ./certs.sh [HOST...]       what is missing: both CAs, the server's certificate for these names and addresses
#                              (localhost and 127.0.0.1 unless given), and one for each party of accounts.conf
#   ./certs.sh client NAME...  a certificate with which a program is NAME to the server, its user "CN=NAME"
set -eu
umask 077
mkdir -p "$(dirname "$0")/certs"
cd "$(dirname "$0")/certs"
days=30

# authority FILE NAME
authority() {
  [ -e "$1.pem" ] && return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" -subj "/CN=$2" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$1.key" -out "$1.pem" 2>/dev/null
}

# issue AUTHORITY NAME USAGE [ALTERNATIVE-NAMES]
issue() {
  [ -e "$2.pem" ] && return
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$2.key" -out "$2.csr" 2>/dev/null
  {
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=$3"
    [ -z "${4:-}" ] || echo "subjectAltName=$4"
  } >"$2.ext"
  openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -days "$days" -extfile "$2.ext" -out "$2.pem" 2>/dev/null
  rm "$2.csr" "$2.ext"
}

# A client's certificate must not make a server of its holder, nor a member of the cluster: hence the usages, and
# a CA that nothing but routes is signed by.
authority ca "Lethe NATS"

if [ "${1:-}" = client ]; then
  shift
  for name in "$@"; do issue ca "$name" clientAuth; done
  exit
fi

[ $# -gt 0 ] || set -- localhost 127.0.0.1
names=""
for host in "$@"; do
  case $host in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  names="${names:+$names,}$kind:$host"
done
issue ca server serverAuth "$names"
authority routes-ca "Lethe NATS routes"
issue routes-ca route serverAuth,clientAuth "$names"
for name in publisher-kv publisher-sensay worker subscriber admin; do issue ca "$name" clientAuth; done

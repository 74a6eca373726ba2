#!/bin/sh
# Asks to delete k-v.ai user contexts: publish.sh REQUEST-ID CONTEXT-IDS, such as publish.sh erasure-2 10,11
# It fails unless the stream has stored the request. "duplicate":true says that it has stored this id within ten minutes.
set -eu
id=$1 contexts=$2

answer=$(nats request deletions.requests.kv-user-context --raw --header "Nats-Msg-Id:$id" \
  '{"specversion":"1.0","id":"'"$id"'","source":"/crm/erasure","type":"lethe.deletion.requested.v1",
    "datacontenttype":"application/json","data":{"target":"kv-user-context","ids":['"$contexts"']}}')
echo "$answer"
case $answer in
  *'"error"'*|'') exit 1 ;;
esac

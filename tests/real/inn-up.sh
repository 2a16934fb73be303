#!/usr/bin/env bash
# inn-up.sh DIR: a real INN 2.7 news server on loopback, without systemd, with all its state in DIR.
#   NNTP_PORT, NNTPS_PORT, INND_PORT   ports for readers (plain, TLS) and for the server's own feed
#   NNTP_USER, NNTP_PASSWORD           the login that may read and post
# DIR must be reachable by the user `news`, and its path short: a Unix socket lies in it. inn-down.sh DIR stops it.
set -euo pipefail
dir=${1:?usage: inn-up.sh DIR}
: "${NNTP_PORT:?}" "${NNTPS_PORT:?}" "${INND_PORT:?}" "${NNTP_USER:?}" "${NNTP_PASSWORD:?}"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
bin=/usr/lib/news/bin
export INNCONF=$dir/etc/inn.conf
news() { setpriv --reuid news --regid news --clear-groups "$@"; }

mkdir -p "$dir"/{etc/filter,db,run,log,tmp,tls} "$dir"/spool/{articles,overview,outgoing,archive,innfeed} \
    "$dir"/spool/incoming/{tmp,bad}

cat >"$INNCONF" <<EOF
mta: "/bin/true %s"
mailcmd: /bin/true
organization: altmount
pathhost: altmount
domain: altmount.test
ovmethod: tradindexed
hismethod: hisv6
bindaddress: 127.0.0.1
bindaddress6: none
port: $INND_PORT
maxartsize: 4000000
localmaxartsize: 4000000
maxconnections: 100
maxforks: 100
rlimitnofile: -1
artcutoff: 0
wanttrash: false
enableoverview: true
noreader: true
readerswhenstopped: false
nnrpdcheckart: false
nnrpdauthsender: false
nnrpdposthost: 127.0.0.1
nnrpdpostport: $INND_PORT
nnrpdloadlimit: 0
backoffauth: false
addinjectionpostinghost: false
clienttimeout: 600
initialtimeout: 30
keywords: false
perlfilter: false
docnfsstat: false
doinnwatch: false
tlscafile: ""
tlscertfile: $dir/tls/cert.pem
tlskeyfile: $dir/tls/key.pem
pathnews: /usr/lib/news
pathbin: $bin
pathdb: $dir/db
pathetc: $dir/etc
pathrun: $dir/run
pathlog: $dir/log
pathhttp: $dir/log
pathtmp: $dir/tmp
pathspool: $dir/spool
patharticles: $dir/spool/articles
pathoverview: $dir/spool/overview
pathoutgoing: $dir/spool/outgoing
pathincoming: $dir/spool/incoming
patharchive: $dir/spool/archive
pathfilter: $dir/etc/filter
EOF
cat >"$dir/etc/readers.conf" <<EOF
auth users {
    hosts: "127.0.0.1"
    auth: "ckpasswd -f $dir/etc/passwd"
}
access full {
    users: "$NNTP_USER"
    newsgroups: "*"
    access: RPA
}
EOF
printf '%s:%s\n' "$NNTP_USER" "$(printf %s "$NNTP_PASSWORD" | perl -e 'print crypt(<STDIN>, "am")')" >"$dir/etc/passwd"
# One cyclic buffer holds the articles: a sparse file of 4 GiB.
printf 'method cnfs {\n    newsgroups: *\n    class: 1\n    options: ALL\n}\n' >"$dir/etc/storage.conf"
printf 'cycbuff:ONE:%s/spool/articles/one:%s\nmetacycbuff:ALL:ONE\n' "$dir" $((1 << 22)) >"$dir/etc/cycbuff.conf"
truncate -s 4G "$dir/spool/articles/one"
printf 'ME:*,!junk/!local::\n' >"$dir/etc/newsfeeds"
printf 'streaming: true\nmax-connections: 100\npeer ME {\n    hostname: "127.0.0.1"\n}\n' >"$dir/etc/incoming.conf"
printf '/remember/:11\n*:A:never:never:never\n' >"$dir/etc/expire.ctl"
printf 'all:*:*:drop\n' >"$dir/etc/control.ctl"
touch "$dir"/etc/{moderators,distrib.pats,subscriptions,nnrpd.track,localgroups,inn-secrets.conf} \
    "$dir"/db/{active.times,history}
for group in control control.cancel junk alt.binaries.test; do
    printf '%s 0000000000 0000000001 y\n' "$group"
done >"$dir/db/active"
printf 'alt.binaries.test\ttests\n' >"$dir/db/newsgroups"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext 'subjectAltName=IP:127.0.0.1' \
    -keyout "$dir/tls/key.pem" -out "$dir/tls/cert.pem" 2>/dev/null
chown -R news:news "$dir"
chmod 755 "$dir"
chmod 640 "$dir/etc/passwd" "$dir/tls/key.pem" "$dir/etc/inn-secrets.conf"
cd "$dir/db"
news "$bin/makedbz" -i -o -s 100000
cd "$dir"
news "$bin/innd" -P "$INND_PORT" >>"$dir/log/innd.out" 2>&1
news "$bin/nnrpd" -D -b 127.0.0.1 -p "$NNTP_PORT" >>"$dir/log/nnrpd.out" 2>&1
news "$bin/nnrpd" -D -S -b 127.0.0.1 -p "$NNTPS_PORT" >>"$dir/log/nnrpd.out" 2>&1
# The daemons say nowhere that they are ready; they answer when they are.
for ((try = 0; ; try++)); do
    if [[ -s $dir/run/innd.pid ]] && news "$bin/ctlinnd" -t 2 mode >/dev/null 2>&1; then break; fi
    ((try < 50)) || { cat "$dir"/log/*.out >&2; echo "inn-up: INN did not start" >&2; exit 1; }
    sleep 0.2
done
echo "inn-up: INN answers on $NNTP_PORT and, with TLS, on $NNTPS_PORT"

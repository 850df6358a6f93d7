#!/bin/bash
# Records the request heads of the real clients on this machine as tests/heads/NAME.head.
#
#   DATA=/some/folder tests/heads/record/record.sh
#
# DATA holds a Python environment `venv` (requests, httpx[http2], aiohttp, httpie, h2, sentry-sdk,
# ddtrace, elastic-apm, aws-xray-sdk, opentelemetry-*), and `js` with the packages of clients.mjs.
# All other programs come from Debian 12: curl wget chromium firefox-esr golang-go openjdk-17-jdk
# libhttpclient-java libokhttp-java ruby php-cli php-guzzlehttp-guzzle libwww-perl nginx haproxy
# trafficserver apache2 caddy varnish. All traffic stays on loopback. The script skips a missing
# client with a line on stderr. It leaves heads from documentation (first line:
# `from documentation`) alone; they are written by hand.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=$(mktemp -d)
chmod a+rwx "$OUT" # Varnish and Traffic Server give up root.
PORT=18080
URL=http://127.0.0.1:$PORT
export JQUERY=$DATA/js/node_modules/jquery/dist/jquery.js
STARTED=()
trap 'kill "${STARTED[@]}" 2>/dev/null' EXIT

note() { printf '%s\t%s\n' "$1" "$2" >>"$OUT/notes.tsv"; }
start() { "$@" >>"$OUT/log" 2>&1 & STARTED+=($!); }
# Waits until a process listens on the port.
await() { for _ in $(seq 100); do (echo >"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done; echo "no listener on port $1" >&2; }
missing() { echo "skipped: $*" >&2; }

start "$DATA/venv/bin/python" "$HERE/recorder.py" $PORT "$OUT"
await $PORT

# --- command lines ----------------------------------------------------------------------------------
CURL="curl $(curl --version | sed -n '1s/curl \([^ ]*\).*/\1/p')"
curl -sS $URL/curl >/dev/null && note curl "$CURL; recorded: curl URL"
curl -sS --http2-prior-knowledge $URL/curl-h2c >/dev/null && note curl-h2c "$CURL; recorded: curl --http2-prior-knowledge URL"
curl -sS --http2 $URL/curl-h2c-upgrade >/dev/null && note curl-h2c-upgrade "$CURL; recorded: curl --http2 URL"
curl -sS --compressed -H 'Accept: application/json' $URL/curl-json >/dev/null && note curl-json "$CURL; recorded: curl --compressed -H 'Accept: application/json' URL"
curl -sS -u alice:secret $URL/curl-basic >/dev/null && note curl-basic "$CURL; recorded: curl -u USER:PASSWORD URL"
curl -sS -b session=1 $URL/curl-cookie >/dev/null && note curl-cookie "$CURL; recorded: curl -b session=1 URL"
curl -sS -H 'X-Api-Key: secret' $URL/curl-api-key >/dev/null && note curl-api-key "$CURL; recorded: curl -H 'X-Api-Key: ..' URL"
wget -q -O /dev/null $URL/wget && note wget "$(wget --version | head -1 | cut -d' ' -f1-3); recorded: wget URL"
"$DATA/venv/bin/http" --ignore-stdin GET $URL/httpie >/dev/null && note httpie "HTTPie $("$DATA/venv/bin/http" --version); recorded: http GET URL"

# --- libraries --------------------------------------------------------------------------------------
for part in plain opentelemetry sentry datadog xray elastic; do
    timeout 60 "$DATA/venv/bin/python" "$HERE/clients.py" $URL $part >>"$OUT/notes.tsv" 2>>"$OUT/log" || missing "$part of Python"
done
cp "$HERE/clients.mjs" "$DATA/js/" && (cd "$DATA/js" && timeout 60 node clients.mjs $URL >>"$OUT/notes.tsv" 2>>"$OUT/log") || missing Node
(cd "$OUT" && GOFLAGS= go run "$HERE/client.go" $URL >>"$OUT/notes.tsv" 2>>"$OUT/log") || missing Go
JARS=/usr/share/java
CLASSES=$JARS/httpclient.jar:$JARS/httpcore.jar:$JARS/commons-logging.jar:$JARS/commons-codec.jar:$JARS/okhttp.jar:$JARS/okio.jar
timeout 60 java -cp $CLASSES "$HERE/Clients.java" $URL >>"$OUT/notes.tsv" 2>>"$OUT/log" || missing Java
ruby -rnet/http -e "Net::HTTP.get(URI('$URL/ruby-net-http'))" && note ruby-net-http "Ruby $(ruby -e 'print RUBY_VERSION'); recorded: Net::HTTP.get(uri)" || missing Ruby
php -r "file_get_contents('$URL/php-streams');" && note php-streams "PHP $(php -r 'echo PHP_VERSION;'); recorded: file_get_contents(url)" || missing PHP
php -r "require '/usr/share/php/GuzzleHttp/autoload.php'; (new GuzzleHttp\\Client())->get('$URL/php-guzzle');" && note php-guzzle "Guzzle $(dpkg-query -Wf '${Version}' php-guzzlehttp-guzzle | cut -d- -f1), PHP $(php -r 'echo PHP_VERSION;'); recorded: (new Client())->get(url)" || missing Guzzle
perl -MLWP::UserAgent -e "LWP::UserAgent->new->get('$URL/perl-lwp')" && note perl-lwp "libwww-perl $(perl -MLWP -e 'print LWP->VERSION'); recorded: LWP::UserAgent->new->get(url)" || missing LWP

# --- browsers ---------------------------------------------------------------------------------------
# Waits until the page's last request has arrived.
page() { for _ in $(seq 300); do [ -e "$OUT/done.raw" ] && break; sleep 0.1; done; sleep 0.5; rm -f "$OUT/done.raw"; }
browser() { # name, program and version
    for how in \
        "fetch:fetch(url), same origin" "fetch-json:fetch(url, Accept), same origin" \
        "fetch-cross-origin:fetch(url), cross-site" \
        "fetch-cross-origin-credentials:fetch(url, credentials include), cross-site, no cookie" \
        "fetch-no-cache:fetch(url, cache no-cache)" "fetch-reload:fetch(url, cache reload)" \
        "fetch-low-priority:fetch(url, priority low)" "xhr:XMLHttpRequest with X-Requested-With" \
        "jquery:jQuery.getJSON(url)" "image:an <img>" "frame:an <iframe>" \
        "fetch-cookie:fetch(url) with a cookie" "navigation:the address bar"; do
        note "$1-${how%%:*}" "$2; recorded: ${how#*:}"
    done
}
CHROMIUM="--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
if command -v chromium >/dev/null; then
    for target in chromium-navigation "page.html?browser=chromium"; do
        start chromium $CHROMIUM --user-data-dir="$OUT/chromium" --remote-debugging-port=0 "$URL/$target"
        [ "$target" = chromium-navigation ] && for _ in $(seq 200); do [ -e "$OUT/chromium-navigation.raw" ] && break; sleep 0.1; done || page
        kill "${STARTED[-1]}"; wait "${STARTED[-1]}" 2>/dev/null; unset 'STARTED[-1]'
    done
    browser chromium "$(chromium --version | cut -d' ' -f1-2)"
else missing Chromium; fi
if command -v firefox-esr >/dev/null; then
    for target in firefox-navigation "page.html?browser=firefox"; do
        mkdir -p "$OUT/firefox"
        HOME="$OUT/firefox" start firefox-esr --headless --no-remote --profile "$OUT/firefox" "$URL/$target"
        [ "$target" = firefox-navigation ] && for _ in $(seq 300); do [ -e "$OUT/firefox-navigation.raw" ] && break; sleep 0.1; done || page
        kill "${STARTED[-1]}"; wait "${STARTED[-1]}" 2>/dev/null; unset 'STARTED[-1]'
    done
    browser firefox "$(firefox-esr --version 2>/dev/null | tail -1)"
else missing Firefox; fi

# --- proxies, each with curl in front ---------------------------------------------------------------
at=$PORT
conf() { sed "s#UPSTREAM#$PORT#g;s#PORT#$at#g;s#DIR#$OUT#g" "$HERE/proxies/$1" >"$OUT/$1"; }
through() { # name, note
    await "$at"
    curl -sS -H 'Accept: application/json' "http://127.0.0.1:$at/$1" >/dev/null && note "$1" "$2; recorded: $CURL behind it"
}
at=18081; conf nginx.conf; start nginx -c "$OUT/nginx.conf" -e stderr
through nginx "$(nginx -v 2>&1 | sed 's/.*: //'), proxies/nginx.conf"
through nginx-ingress "$(nginx -v 2>&1 | sed 's/.*: //') with the proxy_set_header lines of ingress-nginx"
at=18082; conf haproxy.cfg; start haproxy -db -f "$OUT/haproxy.cfg"
through haproxy "$(haproxy -v | head -1 | cut -d' ' -f1-3), proxies/haproxy.cfg"
at=18083; conf apache.conf; start /usr/sbin/apache2 -f "$OUT/apache.conf" -DFOREGROUND
through apache-httpd "$(/usr/sbin/apache2 -v | head -1 | sed 's/.*: //'), mod_proxy_http as it is"
at=18084; conf Caddyfile; start caddy run --adapter caddyfile --config "$OUT/Caddyfile"
through caddy "Caddy $(caddy version | cut -d' ' -f1), reverse_proxy as it is"
at=18085; conf varnish.vcl; start varnishd -F -a 127.0.0.1:$at -f "$OUT/varnish.vcl" -n "$OUT/varnish" -s malloc,8M
through varnish "$(varnishd -V 2>&1 | head -1 | sed 's/ revision.*//'), as it is"
at=18086; conf records.config; mkdir -p "$OUT/ats"/{etc,log,cache,run}
cp -r /etc/trafficserver/. "$OUT/ats/etc/" && cp "$OUT/records.config" "$OUT/ats/etc/"
echo "map / http://127.0.0.1:$PORT/" >"$OUT/ats/etc/remap.config"
printf 'prefix: /usr\nbindir: /usr/bin\nsysconfdir: %s/ats/etc\nlogdir: %s/ats/log\nlocalstatedir: %s/ats\nruntimedir: %s/ats/run\ncachedir: %s/ats/cache\nplugindir: /usr/lib/trafficserver/modules\n' "$OUT" "$OUT" "$OUT" "$OUT" "$OUT" >"$OUT/ats/runroot.yaml"
chmod -R a+rwX "$OUT"; start traffic_server --run-root="$OUT/ats/runroot.yaml"
through trafficserver "$(traffic_server --version 2>/dev/null | head -1 | cut -d' ' -f1-6), proxies/records.config"

# --- fixtures ---------------------------------------------------------------------------------------
while IFS=$'\t' read -r name text; do
    [ -e "$OUT/$name.raw" ] || { missing "$name: nothing recorded"; continue; }
    { echo "# $text"; cat "$OUT/$name.raw"; } >"$HERE/../$name.head"
done <"$OUT/notes.tsv"
echo "recorded $(wc -l <"$OUT/notes.tsv"); the log is $OUT/log"

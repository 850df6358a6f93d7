vcl 4.1;
# Varnish with its built-in rules.
backend origin { .host = "127.0.0.1"; .port = "${origin}"; }

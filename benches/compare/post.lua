-- A constant request, built once: it costs the load no more than a GET.
wrk.method = "POST"
wrk.body = "{}"
wrk.headers["content-type"] = "application/json"

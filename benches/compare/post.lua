-- The same request each time, made once: costs the load no more than a GET.
wrk.method = "POST"
wrk.body = "{}"
wrk.headers["content-type"] = "application/json"

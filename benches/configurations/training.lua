-- For wrk: requests as browsers, phones and libraries write them, in turn, those that are refused among them.
local browser = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.5",
  ["Cookie"] = "session=0123456789abcdef; theme=dark",
  ["Origin"] = "https://www.shop.example",
  ["Referer"] = "https://www.shop.example/cart?step=2",
  ["Sec-Fetch-Mode"] = "cors",
  ["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
local phone = {
  ["User-Agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
}
local library = { ["Accept"] = "application/json", ["User-Agent"] = "okhttp/4.12.0", ["Authorization"] = "Bearer abc.def.ghi" }
local preflight = { ["Origin"] = "https://www.shop.example", ["Access-Control-Request-Method"] = "POST" }
local posted = { ["Content-Type"] = "application/json", ["Idempotency-Key"] = "8e03978e-40d5-43dd-bc93-6894a57f9324" }

local function get(path, headers) return wrk.format("GET", path, headers) end

local requests = {}
function init()
  requests = {
    get("/svc57/1k", browser),
    get("/svc57/1k?page=2&sort=name", library),
    get("/api/v42/items/8f14e45f", library),
    wrk.format("POST", "/api/v7/items", posted, '{"name":"tea","price":3}'),
    get("/svc1/beta", { ["X-Version"] = "2" }),
    get("/home", phone),
    get("/packed/page", browser),
    get("/svc3//a/../b%7e", library),
    get("/hello/world", browser),
    get("/old/place", browser),
    wrk.format("OPTIONS", "/api/v7/items", preflight),
    get("/nowhere", browser),
    wrk.format("DELETE", "/api/v7/items", library),
    "POST /hello/you HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
  }
end

local at = 0
function request()
  at = at % #requests + 1
  return requests[at]
end

-- Sends the requests of a file in turn, as they stand in it, and prints what came of them as a line of JSON:
--   wrk … -s request.lua http://HOST:PORT -- FILE
-- Before each request in the file is its length in bytes and a line feed.
local requests = {}
local turn = 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for length in function() return file:read("*l") end do
    requests[#requests + 1] = assert(file:read(tonumber(length)))
  end
  file:close()
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %f, "p99": %f, "most": %f, "failed": %d, "timeouts": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max, errors.status,
    errors.timeout, errors.connect + errors.read + errors.write))
end

--[[
broker/bury: move a delivery to the group's dead letters now, with the reason.

KEYS[1]  mq:{SALE:TOPIC}:log                    stream   every visible message: key, body
KEYS[2]  mq:{SALE:TOPIC}:group:GROUP:flight     zset     log id by the time it may come again
KEYS[3]  mq:{SALE:TOPIC}:group:GROUP:attempts   hash     log id -> attempt, with an "r" once it was given back
KEYS[4]  mq:{SALE:TOPIC}:dead:GROUP             stream   dead letters: body, reason, id, attempt, at
ARGV[1]  log id
ARGV[2]  attempt
ARGV[3]  reason
ARGV[4]  now, Unix milliseconds

Returns  1 dead now, 0 the receipt is stale
Errors   none
Cost     O(log in flight) and one copy of the body
]]
local function body_of(entry)
  for i = 1, #entry[2], 2 do
    if entry[2][i] == "body" then return entry[2][i + 1] end
  end
end

local id, attempt = ARGV[1], ARGV[2]
if redis.call("HGET", KEYS[3], id) ~= attempt then return 0 end
local entry = redis.call("XRANGE", KEYS[1], id, id)[1]
if not entry then return 0 end
local body = body_of(entry) or ""
redis.call("XADD", KEYS[4], "*", "body", body, "reason", ARGV[3], "id", id, "attempt", attempt, "at", ARGV[4])
redis.call("ZREM", KEYS[2], id)
redis.call("HDEL", KEYS[3], id)
return 1

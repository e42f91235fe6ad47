--[[
broker/lease: give the halves that are due for a check to one asker, and put off their next check meanwhile.

An asker that dies with them costs one interval. The interval doubles with every check up to its maximum. A half that
was asked about often enough is discarded: it leaves the halves and is kept aside for a person to look at.

KEYS[1]  mq:{SALE:TOPIC}:half        hash     tx_id -> body
KEYS[2]  mq:{SALE:TOPIC}:born        hash     tx_id -> when it was sent
KEYS[3]  mq:{SALE:TOPIC}:asked       hash     tx_id -> checks so far
KEYS[4]  mq:{SALE:TOPIC}:checks      zset     tx_id by the time of its next check
KEYS[5]  mq:{SALE:TOPIC}:discarded   stream   halves given up: tx, born, checks, body
ARGV[1]  now, Unix milliseconds
ARGV[2]  interval after the first check, milliseconds
ARGV[3]  longest interval, milliseconds
ARGV[4]  checks a half may have
ARGV[5]  halves wanted, 1 to 64
ARGV[6]  bytes of bodies after which to stop early

Returns  {next_ms, discarded_count, tx, ..., tx, born_ms, checks, body, tx, born_ms, checks, body, ...}
         next_ms: when the next half is due, -1 for none; then the discarded tx_ids; then the leased halves
Errors   BADCOUNT   nothing was changed
Cost     O(wanted x log halves)
]]
local half, born, asked, checks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, bytes_left, wanted = tonumber(ARGV[1]), tonumber(ARGV[6]), tonumber(ARGV[5])
if not wanted or wanted < 1 or wanted > 64 then return redis.error_reply("BADCOUNT " .. ARGV[5]) end
local discarded, leased = {}, {}
for _, tx in ipairs(redis.call("ZRANGEBYSCORE", checks, "-inf", ARGV[1], "LIMIT", 0, wanted)) do
  if bytes_left <= 0 then break end
  local body = redis.call("HGET", half, tx)
  local count = tonumber(redis.call("HGET", asked, tx) or 0) + 1
  if body and count <= tonumber(ARGV[4]) then
    local pause = math.min(tonumber(ARGV[2]) * 2 ^ (count - 1), tonumber(ARGV[3]))
    redis.call("HSET", asked, tx, count)
    redis.call("ZADD", checks, now + pause, tx)
    bytes_left = bytes_left - #body
    local n = #leased
    leased[n + 1], leased[n + 2], leased[n + 3], leased[n + 4] = tx, redis.call("HGET", born, tx), count, body
  else
    if body then
      redis.call("XADD", KEYS[5], "*", "tx", tx, "born", redis.call("HGET", born, tx), "checks", count - 1, "body", body)
      discarded[#discarded + 1] = tx
    end
    redis.call("HDEL", half, tx)
    redis.call("HDEL", born, tx)
    redis.call("HDEL", asked, tx)
    redis.call("ZREM", checks, tx)
  end
end
local reply = { tonumber(redis.call("ZRANGE", checks, 0, 0, "WITHSCORES")[2]) or -1, #discarded }
for _, tx in ipairs(discarded) do reply[#reply + 1] = tx end
for i = 1, #leased do reply[#reply + 1] = leased[i] end
return reply

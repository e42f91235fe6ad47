--[[
broker/depth: how much is on its way on a topic for one group, at one instant.

KEYS[1]  mq:{SALE:TOPIC}:half                 hash     tx_id -> body
KEYS[2]  mq:{SALE:TOPIC}:delay                zset     message key by the time it becomes visible
KEYS[3]  mq:{SALE:TOPIC}:log                  stream   every visible message: key, body
KEYS[4]  mq:{SALE:TOPIC}:group:GROUP:cursor   hash     id: last log entry handed out; read: how many were
KEYS[5]  mq:{SALE:TOPIC}:group:GROUP:flight   zset     log id by the time it may come again
KEYS[6]  mq:{SALE:TOPIC}:dead:GROUP           stream   dead letters: body, reason, id, attempt, at
ARGV[1]  now, Unix milliseconds

Returns  {halves, delayed, waiting, in_flight, dead}
         waiting: what the next receive may hand out: new, due again or just past its delay
Errors   none
Cost     O(log messages), read only
]]
local due = redis.call("ZCOUNT", KEYS[2], "-inf", ARGV[1])
local again = redis.call("ZCOUNT", KEYS[5], "-inf", ARGV[1])
local read = tonumber(redis.call("HGET", KEYS[4], "read") or 0)
return {
  redis.call("HLEN", KEYS[1]),
  redis.call("ZCARD", KEYS[2]) - due,
  redis.call("XLEN", KEYS[3]) - read + due + again,
  redis.call("ZCARD", KEYS[5]) - again,
  redis.call("XLEN", KEYS[6]),
}

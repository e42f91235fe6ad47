--[[
broker/publish: put a normal message on the log, or aside until its time comes; at most once per key.

KEYS[1]  mq:{SALE:TOPIC}:log       stream   every visible message: key, body
KEYS[2]  mq:{SALE:TOPIC}:delay     zset     message key by the time it becomes visible
KEYS[3]  mq:{SALE:TOPIC}:delayed   hash     message key -> body
KEYS[4]  mq:{SALE:TOPIC}:sent      zset     what was sent lately, by the time we may forget it
ARGV[1]  message key, new for every message and the same when it is sent again
ARGV[2]  body
ARGV[3]  now, Unix milliseconds
ARGV[4]  when it becomes visible, Unix milliseconds; now or the past: at once
ARGV[5]  until when to remember this key, Unix milliseconds

Returns  1 stored, 0 it was stored by an earlier try
Errors   none
Cost     O(log delayed), and at most 16 old keys forgotten
]]
local key = ARGV[1]
if redis.call("ZSCORE", KEYS[4], key) then return 0 end
if tonumber(ARGV[4]) <= tonumber(ARGV[3]) then
  redis.call("XADD", KEYS[1], "*", "key", key, "body", ARGV[2])
else
  redis.call("HSET", KEYS[3], key, ARGV[2])
  redis.call("ZADD", KEYS[2], ARGV[4], key)
end
redis.call("ZADD", KEYS[4], ARGV[5], key)
local old = redis.call("ZRANGEBYSCORE", KEYS[4], "-inf", ARGV[3], "LIMIT", 0, 16)
if #old > 0 then redis.call("ZREM", KEYS[4], unpack(old)) end
return 1

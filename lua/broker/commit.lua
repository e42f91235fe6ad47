--[[
broker/commit: make a half message visible to every group, once.

KEYS[1]  mq:{SALE:TOPIC}:half     hash     tx_id -> body
KEYS[2]  mq:{SALE:TOPIC}:born     hash     tx_id -> when it was sent
KEYS[3]  mq:{SALE:TOPIC}:asked    hash     tx_id -> checks so far
KEYS[4]  mq:{SALE:TOPIC}:checks   zset     tx_id by the time of its next check
KEYS[5]  mq:{SALE:TOPIC}:log      stream   every visible message: key, body
ARGV[1]  tx_id

Returns  1 visible now, 0 there is no such half: it was committed, rolled back or discarded before
Errors   none
Cost     O(log halves) and one copy of the body
]]
local tx = ARGV[1]
local body = redis.call("HGET", KEYS[1], tx)
if not body then return 0 end
redis.call("XADD", KEYS[5], "*", "key", tx, "body", body)
redis.call("HDEL", KEYS[1], tx)
redis.call("HDEL", KEYS[2], tx)
redis.call("HDEL", KEYS[3], tx)
redis.call("ZREM", KEYS[4], tx)
return 1

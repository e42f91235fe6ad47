--[[
broker/rollback: forget a half message: nobody will ever see it.

KEYS[1]  mq:{SALE:TOPIC}:half     hash   tx_id -> body
KEYS[2]  mq:{SALE:TOPIC}:born     hash   tx_id -> when it was sent
KEYS[3]  mq:{SALE:TOPIC}:asked    hash   tx_id -> checks so far
KEYS[4]  mq:{SALE:TOPIC}:checks   zset   tx_id by the time of its next check
ARGV[1]  tx_id

Returns  1 forgotten, 0 there is no such half: it was committed, rolled back or discarded before
Errors   none
Cost     O(log halves)
]]
local tx = ARGV[1]
local gone = redis.call("HDEL", KEYS[1], tx)
redis.call("HDEL", KEYS[2], tx)
redis.call("HDEL", KEYS[3], tx)
redis.call("ZREM", KEYS[4], tx)
return gone

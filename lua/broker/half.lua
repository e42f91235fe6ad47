--[[
broker/half: store a half message, invisible until it is committed, at most once per tx_id.

KEYS[1]  mq:{SALE:TOPIC}:half     hash   tx_id -> body
KEYS[2]  mq:{SALE:TOPIC}:born     hash   tx_id -> when it was sent
KEYS[3]  mq:{SALE:TOPIC}:checks   zset   tx_id by the time its sender's peers are asked
KEYS[4]  mq:{SALE:TOPIC}:sent     zset   what was sent lately, by the time we may forget it
ARGV[1]  tx_id
ARGV[2]  body
ARGV[3]  now, Unix milliseconds
ARGV[4]  when to ask for the first time, Unix milliseconds
ARGV[5]  until when to remember this tx_id, Unix milliseconds
ARGV[6]  "1" when the caller sends again because it heard no answer, else "0"

Returns  1 stored, 0 it was stored by the first try (only when sent again)
Errors   TXUSED   this tx_id was used before; nothing was changed
Cost     O(log halves): six writes, and at most 16 old tx_ids forgotten
]]
local tx = ARGV[1]
if redis.call("HEXISTS", KEYS[1], tx) == 1 or redis.call("ZSCORE", KEYS[4], tx) then
  -- It may even be committed by now, if somebody answered a check meanwhile: a second half would be a second message.
  if ARGV[6] == "1" then return 0 end
  return redis.error_reply("TXUSED " .. tx)
end
redis.call("HSET", KEYS[1], tx, ARGV[2])
redis.call("HSET", KEYS[2], tx, ARGV[3])
redis.call("ZADD", KEYS[3], ARGV[4], tx)
redis.call("ZADD", KEYS[4], ARGV[5], tx)
-- One is added a call, so 16 a call keep the set as short as its time window.
local old = redis.call("ZRANGEBYSCORE", KEYS[4], "-inf", ARGV[3], "LIMIT", 0, 16)
if #old > 0 then redis.call("ZREM", KEYS[4], unpack(old)) end
return 1

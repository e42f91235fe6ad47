--[[
broker/ack: done with these deliveries. One whose receipt is stale is left alone: that message comes again.

KEYS[1]  mq:{SALE:TOPIC}:group:GROUP:flight     zset   log id by the time it may come again
KEYS[2]  mq:{SALE:TOPIC}:group:GROUP:attempts   hash   log id -> attempt, with an "r" once it was given back
ARGV[1]  log id, attempt, log id, attempt, ... (all of ARGV)

Returns  how many were acknowledged by this call
Errors   none
Cost     O(messages x log in flight)
]]
local done = 0
for i = 1, #ARGV, 2 do
  if redis.call("HGET", KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call("ZREM", KEYS[1], ARGV[i])
    redis.call("HDEL", KEYS[2], ARGV[i])
    done = done + 1
  end
end
return done
